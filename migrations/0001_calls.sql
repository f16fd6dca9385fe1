-- Columns beside `record` exist to be filtered, sorted or joined; the JSON is the truth.
CREATE TABLE calls (
    id          TEXT PRIMARY KEY NOT NULL,
    direction   TEXT NOT NULL,
    status      TEXT NOT NULL,
    outcome     TEXT,
    end_reason  TEXT,
    ended       INTEGER NOT NULL,
    from_digits TEXT NOT NULL,
    to_digits   TEXT NOT NULL,
    agent_id    TEXT,
    trunk       TEXT,
    sort_us     INTEGER NOT NULL,
    record      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_sort ON calls (sort_us DESC, id DESC);
CREATE INDEX calls_status ON calls (status, sort_us DESC, id DESC);
CREATE INDEX calls_outcome ON calls (outcome, sort_us DESC);
CREATE INDEX calls_end_reason ON calls (end_reason, sort_us DESC);
CREATE INDEX calls_direction ON calls (direction, sort_us DESC, id DESC);
CREATE INDEX calls_agent ON calls (agent_id, sort_us DESC);
CREATE INDEX calls_trunk ON calls (trunk, sort_us DESC);
CREATE INDEX calls_open ON calls (id) WHERE ended = 0;

CREATE TABLE turns (
    call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (call_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (call_id, seq)
) STRICT, WITHOUT ROWID;

-- Only the hash of a key is stored; the prefix lets a person recognise it.
CREATE TABLE api_keys (
    hash       TEXT PRIMARY KEY NOT NULL,
    created_us INTEGER NOT NULL,
    record     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
