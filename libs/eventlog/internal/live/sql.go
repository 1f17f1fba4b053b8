package live

import (
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
)

// moveSQL moves the position, the sources' numbers with it, how far was decided, and
// what is remembered of the log's order.
const moveSQL = `WITH sources AS (
	INSERT INTO %[1]s.fold_sources (source, sequence, digest) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
	ON CONFLICT (source) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest
), decided AS (
	UPDATE %[2]s.decided SET through = $4 WHERE through < $4
), tail AS (
	` + lead.TailSQL + `
)
UPDATE %[1]s.fold_position SET epoch = $5, digest = $6, now = $7,
	sequence = CASE WHEN sequence = $8 AND digest = $9 AND version = $10 THEN $4::bigint END`
