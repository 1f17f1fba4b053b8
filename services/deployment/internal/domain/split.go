package domain

// Candidate reports whether the row with this key goes to the version that is
// rolled out. The seed, a rollout's id, gives every rollout another sample of the
// keys; within one rollout a key that went to the candidate stays with it when
// the weight grows.
func Candidate(seed uint64, key string, weight int64) bool {
	switch {
	case weight <= 0:
		return false
	case weight >= 100:
		return true
	}
	return mix(hash(seed, key))%10_000 < uint64(weight)*100
}

// Seed is the split's seed for a rollout.
func Seed(rollout string) uint64 { return hash(offset, rollout) }

const (
	offset uint64 = 14695981039346656037
	prime  uint64 = 1099511628211
)

// hash is FNV-1a from a seed.
func hash(seed uint64, s string) uint64 {
	h := seed
	for i := range len(s) {
		h ^= uint64(s[i])
		h *= prime
	}
	return h
}

// mix spreads the hash over all bits (splitmix64), which FNV does not.
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
