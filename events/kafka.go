package events

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

const kafkaPrefix = "ce_"

// DecodeKafka reads an event of a volume topic from a record, binary or
// structured. The key routes a record and is no attribute. Types of the log are
// refused with ErrReserved: they never travel on volume topics. For records that
// outsiders write, call CheckOutside as well.
func DecodeKafka(_, value []byte, headers map[string]string) (event.Event, error) {
	if len(value) > MaxVolumeData {
		return event.Event{}, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, len(value), MaxVolumeData)
	}
	contentType, err := headerOf(headers, "content-type")
	if err != nil {
		return event.Event{}, err
	}
	version, err := headerOf(headers, kafkaPrefix+"specversion")
	if err != nil {
		return event.Event{}, err
	}
	m, err := modeOf(contentType, version != "", value)
	if err != nil {
		return event.Event{}, err
	}
	var e event.Event
	if m == modeStructured {
		e, err = DecodeStructured(value)
	} else {
		e, err = decodeKafkaHeaders(headers, contentType, value)
	}
	if err != nil {
		return event.Event{}, err
	}
	if _, ok := Channels[e.Type()]; ok {
		return event.Event{}, fmt.Errorf("%w: %s travels on the log only", ErrReserved, e.Type())
	}
	return e, nil
}

func headerOf(headers map[string]string, name string) (string, error) {
	found, value := false, ""
	for k, v := range headers {
		if strings.EqualFold(k, name) {
			if found {
				return "", malformed("two %s headers", name)
			}
			found, value = true, v
		}
	}
	return value, nil
}

func decodeKafkaHeaders(headers map[string]string, contentType string, value []byte) (event.Event, error) {
	b := newBinary()
	for name, v := range headers {
		name = strings.ToLower(name)
		if !strings.HasPrefix(name, kafkaPrefix) {
			continue
		}
		if name = name[len(kafkaPrefix):]; name == "datacontenttype" {
			return event.Event{}, malformed("the data's type belongs in content-type")
		}
		if err := b.set(name, v); err != nil {
			return event.Event{}, err
		}
	}
	if contentType != "" {
		if err := b.set("datacontenttype", contentType); err != nil {
			return event.Event{}, err
		}
	}
	return b.event(value)
}

// EncodeKafka writes an event of a volume topic in binary mode: attributes as
// headers, data as the value.
func EncodeKafka(e event.Event) (value []byte, headers map[string]string, err error) {
	if len(e.DataEncoded) > MaxVolumeData {
		return nil, nil, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, len(e.DataEncoded), MaxVolumeData)
	}
	headers = make(map[string]string, 12)
	c, err := attributes(e, func(name, value string) { headers[kafkaPrefix+name] = value })
	if err != nil {
		return nil, nil, err
	}
	if c.DataContentType != nil {
		headers["content-type"] = *c.DataContentType
	}
	return e.DataEncoded, headers, nil
}
