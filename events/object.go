package events

import "strings"

// DigestPrefix names a digest's algorithm, the only one there is.
const DigestPrefix = "sha256:"

// ObjectOf describes an object of the store as events do. The digest has its prefix;
// the media type may be empty.
func ObjectOf(digest string, size int64, mediaType string) Object {
	return Object{Digest: digest, URI: "objects:" + strings.TrimPrefix(digest, DigestPrefix), Size: size, MediaType: mediaType}
}
