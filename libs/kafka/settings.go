package kafka

import (
	"context"
	"fmt"

	kgo "github.com/segmentio/kafka-go"
)

// Settings returns what a topic's settings of these names are.
func (c *Client) Settings(ctx context.Context, topic string, names ...string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := again(ctx, c.client.DescribeConfigs, &kgo.DescribeConfigsRequest{Resources: []kgo.DescribeConfigRequestResource{
		{ResourceType: kgo.ResourceTypeTopic, ResourceName: topic, ConfigNames: names},
	}})
	if err != nil {
		return nil, fmt.Errorf("settings of topic %s: %w", topic, err)
	}
	settings := map[string]string{}
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf("settings of topic %s: %w", topic, r.Error)
		}
		for _, e := range r.ConfigEntries {
			settings[e.ConfigName] = e.ConfigValue
		}
	}
	return settings, nil
}
