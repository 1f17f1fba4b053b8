package natsserver

// KeepStreams is what a user publishes to open and retire streams, to trim them, and
// to find them: what only the log guardian may.
func KeepStreams() []string {
	return []string{
		"$JS.API.STREAM.CREATE.*",
		"$JS.API.STREAM.UPDATE.*",
		"$JS.API.STREAM.PURGE.*",
		"$JS.API.STREAM.DELETE.*",
		"$JS.API.STREAM.LIST",
	}
}

// ReadStream is what a user publishes to read a stream: its information, its
// messages, and consumers of it. "*" stands for every stream.
func ReadStream(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
		"$JS.API.DIRECT.GET." + stream,
		"$JS.API.DIRECT.GET." + stream + ".>",
		"$JS.API.CONSUMER.CREATE." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".>",
		"$JS.API.CONSUMER.DELETE." + stream + ".>",
		"$JS.API.CONSUMER.NAMES." + stream,
		"$JS.API.CONSUMER.LIST." + stream,
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".>",
		"$JS.ACK." + stream + ".>",
		"$JS.FC." + stream + ".>",
		"$JS.API.INFO",
		"$JS.API.STREAM.NAMES",
	}
}

// InboxPrefix is the prefix of a user's own answers, which no other user reads.
func InboxPrefix(user string) string { return "_INBOX_" + user }
