-- Lists of calls. What stands here besides the tables of 0001 follows from them by triggers, so no write can
-- forget it. `calls_list` holds all that a list is filtered by, so that a filter never reads a record.
DROP INDEX calls_sort;
DROP INDEX calls_status;
DROP INDEX calls_outcome;
DROP INDEX calls_end_reason;
DROP INDEX calls_direction;
DROP INDEX calls_agent;
DROP INDEX calls_trunk;
CREATE INDEX calls_list ON calls (organization_id, sort_us DESC, id DESC, direction, status, outcome, end_reason,
    answered_by, agent_id, trunk, number_id, order_id, batch_id, campaign_id, call_type, is_test, duration_ms,
    from_digits, to_digits);
CREATE INDEX calls_direction ON calls (organization_id, direction, sort_us DESC, id DESC);
CREATE INDEX calls_status ON calls (organization_id, status, sort_us DESC, id DESC);
CREATE INDEX calls_outcome ON calls (organization_id, outcome, sort_us DESC, id DESC);
CREATE INDEX calls_end_reason ON calls (organization_id, end_reason, sort_us DESC, id DESC);
CREATE INDEX calls_answered_by ON calls (organization_id, answered_by, sort_us DESC, id DESC);
CREATE INDEX calls_agent ON calls (organization_id, agent_id, sort_us DESC, id DESC);
CREATE INDEX calls_trunk ON calls (organization_id, trunk, sort_us DESC, id DESC);
CREATE INDEX calls_number ON calls (organization_id, number_id, sort_us DESC, id DESC);
CREATE INDEX calls_batch ON calls (organization_id, batch_id, sort_us DESC, id DESC);
CREATE INDEX calls_campaign ON calls (organization_id, campaign_id, sort_us DESC, id DESC);

-- How many calls there are of each kind: the totals of lists. `''` stands for nothing.
CREATE TABLE call_totals (
    organization_id TEXT NOT NULL,
    direction       TEXT NOT NULL,
    status          TEXT NOT NULL,
    outcome         TEXT NOT NULL,
    end_reason      TEXT NOT NULL,
    answered_by     TEXT NOT NULL,
    agent_id        TEXT NOT NULL,
    trunk           TEXT NOT NULL,
    call_type       TEXT NOT NULL,
    is_test         INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    PRIMARY KEY (organization_id, direction, status, outcome, end_reason, answered_by, agent_id, trunk,
        call_type, is_test)
) STRICT, WITHOUT ROWID;
INSERT INTO call_totals SELECT organization_id, direction, status, coalesce(outcome, ''),
    coalesce(end_reason, ''), coalesce(answered_by, ''), coalesce(agent_id, ''), coalesce(trunk, ''), call_type,
    is_test, count(*) FROM calls GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;

CREATE TRIGGER calls_total_in AFTER INSERT ON calls BEGIN
    INSERT INTO call_totals VALUES (NEW.organization_id, NEW.direction, NEW.status, coalesce(NEW.outcome, ''),
        coalesce(NEW.end_reason, ''), coalesce(NEW.answered_by, ''), coalesce(NEW.agent_id, ''),
        coalesce(NEW.trunk, ''), NEW.call_type, NEW.is_test, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER calls_total_out AFTER DELETE ON calls BEGIN
    UPDATE call_totals SET n = n - 1 WHERE organization_id = OLD.organization_id AND direction = OLD.direction
        AND status = OLD.status AND outcome = coalesce(OLD.outcome, '')
        AND end_reason = coalesce(OLD.end_reason, '') AND answered_by = coalesce(OLD.answered_by, '')
        AND agent_id = coalesce(OLD.agent_id, '') AND trunk = coalesce(OLD.trunk, '')
        AND call_type = OLD.call_type AND is_test = OLD.is_test;
    DELETE FROM call_totals WHERE organization_id = OLD.organization_id AND direction = OLD.direction
        AND status = OLD.status AND outcome = coalesce(OLD.outcome, '')
        AND end_reason = coalesce(OLD.end_reason, '') AND answered_by = coalesce(OLD.answered_by, '')
        AND agent_id = coalesce(OLD.agent_id, '') AND trunk = coalesce(OLD.trunk, '')
        AND call_type = OLD.call_type AND is_test = OLD.is_test AND n <= 0;
END;
CREATE TRIGGER calls_total_move AFTER UPDATE ON calls
WHEN OLD.status IS NOT NEW.status OR OLD.outcome IS NOT NEW.outcome OR OLD.end_reason IS NOT NEW.end_reason
    OR OLD.answered_by IS NOT NEW.answered_by OR OLD.agent_id IS NOT NEW.agent_id
    OR OLD.trunk IS NOT NEW.trunk OR OLD.direction IS NOT NEW.direction
    OR OLD.organization_id IS NOT NEW.organization_id OR OLD.call_type IS NOT NEW.call_type
    OR OLD.is_test IS NOT NEW.is_test
BEGIN
    INSERT INTO call_totals VALUES (NEW.organization_id, NEW.direction, NEW.status, coalesce(NEW.outcome, ''),
        coalesce(NEW.end_reason, ''), coalesce(NEW.answered_by, ''), coalesce(NEW.agent_id, ''),
        coalesce(NEW.trunk, ''), NEW.call_type, NEW.is_test, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
    UPDATE call_totals SET n = n - 1 WHERE organization_id = OLD.organization_id AND direction = OLD.direction
        AND status = OLD.status AND outcome = coalesce(OLD.outcome, '')
        AND end_reason = coalesce(OLD.end_reason, '') AND answered_by = coalesce(OLD.answered_by, '')
        AND agent_id = coalesce(OLD.agent_id, '') AND trunk = coalesce(OLD.trunk, '')
        AND call_type = OLD.call_type AND is_test = OLD.is_test;
    DELETE FROM call_totals WHERE organization_id = OLD.organization_id AND direction = OLD.direction
        AND status = OLD.status AND outcome = coalesce(OLD.outcome, '')
        AND end_reason = coalesce(OLD.end_reason, '') AND answered_by = coalesce(OLD.answered_by, '')
        AND agent_id = coalesce(OLD.agent_id, '') AND trunk = coalesce(OLD.trunk, '')
        AND call_type = OLD.call_type AND is_test = OLD.is_test AND n <= 0;
END;

-- Search by a part of a number: trigrams of the digits of both. Deleted digits leave the index at once.
CREATE TABLE call_digits (
    row             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    organization_id TEXT NOT NULL,
    sort_us         INTEGER NOT NULL,
    digits          TEXT NOT NULL
) STRICT;
CREATE VIRTUAL TABLE call_search USING fts5 (digits, content = 'call_digits', content_rowid = 'row',
    tokenize = 'trigram', columnsize = 0);
INSERT INTO call_search (call_search, rank) VALUES ('secure-delete', 1);
INSERT INTO call_digits (id, organization_id, sort_us, digits)
    SELECT id, organization_id, sort_us, from_digits || ' ' || to_digits FROM calls;
INSERT INTO call_search (rowid, digits) SELECT row, digits FROM call_digits;
CREATE TRIGGER call_digits_in AFTER INSERT ON call_digits BEGIN
    INSERT INTO call_search (rowid, digits) VALUES (NEW.row, NEW.digits);
END;
CREATE TRIGGER call_digits_out AFTER DELETE ON call_digits BEGIN
    INSERT INTO call_search (call_search, rowid, digits) VALUES ('delete', OLD.row, OLD.digits);
END;
CREATE TRIGGER call_digits_move AFTER UPDATE OF digits ON call_digits WHEN OLD.digits IS NOT NEW.digits BEGIN
    INSERT INTO call_search (call_search, rowid, digits) VALUES ('delete', OLD.row, OLD.digits);
    INSERT INTO call_search (rowid, digits) VALUES (NEW.row, NEW.digits);
END;
CREATE TRIGGER calls_digits_in AFTER INSERT ON calls BEGIN
    INSERT INTO call_digits (id, organization_id, sort_us, digits)
        VALUES (NEW.id, NEW.organization_id, NEW.sort_us, NEW.from_digits || ' ' || NEW.to_digits);
END;
CREATE TRIGGER calls_digits_move AFTER UPDATE ON calls
WHEN OLD.sort_us IS NOT NEW.sort_us OR OLD.from_digits IS NOT NEW.from_digits
    OR OLD.to_digits IS NOT NEW.to_digits
BEGIN
    UPDATE call_digits SET sort_us = NEW.sort_us, digits = NEW.from_digits || ' ' || NEW.to_digits
        WHERE id = NEW.id;
END;
CREATE TRIGGER calls_digits_out AFTER DELETE ON calls BEGIN
    DELETE FROM call_digits WHERE id = OLD.id;
END;

-- Plain values of `metadata`, the first 32 of up to 128 characters, for `metadata.KEY=VALUE`.
CREATE TABLE call_metadata (
    organization_id TEXT NOT NULL,
    key             TEXT NOT NULL,
    value           TEXT NOT NULL,
    sort_us         INTEGER NOT NULL,
    id              TEXT NOT NULL,
    PRIMARY KEY (organization_id, key, value, sort_us, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_metadata_call ON call_metadata (id);
CREATE VIEW call_metadata_of AS
    SELECT calls.id AS id, organization_id, sort_us, entry.key AS key, CASE entry.type WHEN 'true' THEN 'true'
        WHEN 'false' THEN 'false' ELSE CAST(entry.value AS TEXT) END AS value
    FROM calls, json_each(calls.record, '$.metadata') AS entry
    WHERE entry.type IN ('text', 'integer', 'real', 'true', 'false') AND length(entry.value) <= 128
        AND entry.id >= 0;
INSERT OR IGNORE INTO call_metadata SELECT organization_id, key, value, sort_us, id FROM call_metadata_of;
CREATE TRIGGER calls_metadata_in AFTER INSERT ON calls BEGIN
    INSERT OR IGNORE INTO call_metadata
        SELECT organization_id, key, value, sort_us, id FROM call_metadata_of WHERE id = NEW.id LIMIT 32;
END;
CREATE TRIGGER calls_metadata_move AFTER UPDATE ON calls
WHEN OLD.sort_us IS NOT NEW.sort_us
    OR json_extract(OLD.record, '$.metadata') IS NOT json_extract(NEW.record, '$.metadata')
BEGIN
    DELETE FROM call_metadata WHERE id = NEW.id;
    INSERT OR IGNORE INTO call_metadata
        SELECT organization_id, key, value, sort_us, id FROM call_metadata_of WHERE id = NEW.id LIMIT 32;
END;
CREATE TRIGGER calls_metadata_out AFTER DELETE ON calls BEGIN
    DELETE FROM call_metadata WHERE id = OLD.id;
END;

-- One order over the journals of all calls: what `/v1/events` resumes by.
CREATE TABLE event_feed (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id TEXT NOT NULL,
    call_id         TEXT NOT NULL,
    seq             INTEGER NOT NULL
) STRICT;
CREATE INDEX event_feed_list ON event_feed (organization_id, position);
CREATE INDEX event_feed_call ON event_feed (call_id);
INSERT INTO event_feed (organization_id, call_id, seq)
    SELECT organization_id, call_id, seq FROM events JOIN calls ON calls.id = call_id ORDER BY call_id, seq;
CREATE TRIGGER events_feed_in AFTER INSERT ON events BEGIN
    INSERT INTO event_feed (organization_id, call_id, seq)
        SELECT organization_id, NEW.call_id, NEW.seq FROM calls WHERE id = NEW.call_id;
END;
CREATE TRIGGER calls_feed_out AFTER DELETE ON calls BEGIN
    DELETE FROM event_feed WHERE call_id = OLD.id;
END;

-- Calls that were erased: nothing may write them anew. The identifier is all that is left of one.
CREATE TABLE erased_calls (
    id    TEXT PRIMARY KEY NOT NULL,
    at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER calls_stay_erased BEFORE INSERT ON calls
WHEN EXISTS (SELECT 1 FROM erased_calls WHERE id = NEW.id) BEGIN
    SELECT RAISE(IGNORE);
END;
CREATE TRIGGER outbox_stays_erased BEFORE INSERT ON outbox
WHEN EXISTS (SELECT 1 FROM erased_calls WHERE id = NEW.call_id) BEGIN
    SELECT RAISE(IGNORE);
END;

-- When each key was used last, to the minute.
CREATE TABLE api_key_uses (
    id      TEXT PRIMARY KEY NOT NULL,
    last_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys of this server's own signatures: links to recordings, cursors of lists.
CREATE TABLE signing_keys (
    kid        TEXT PRIMARY KEY NOT NULL,
    created_us INTEGER NOT NULL,
    secret     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Answers to requests that carried an `Idempotency-Key`. Without `status` the first of them is still running.
-- `subject` is what the answer is about, so that erasing it erases the answer.
CREATE TABLE idempotency (
    organization_id TEXT NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    created_us      INTEGER NOT NULL,
    status          INTEGER,
    location        TEXT,
    body            TEXT,
    subject         TEXT,
    PRIMARY KEY (organization_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_us);
CREATE INDEX idempotency_subject ON idempotency (subject) WHERE subject IS NOT NULL;

-- What was changed of a call over the API, as a JSON merge patch: a live call writes its own record again and
-- again, and must not undo it.
CREATE TABLE call_patches (
    id    TEXT PRIMARY KEY NOT NULL,
    patch TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER calls_patch_stays AFTER UPDATE OF record ON calls
WHEN EXISTS (SELECT 1 FROM call_patches WHERE id = NEW.id)
BEGIN
    UPDATE calls SET record = json_patch(NEW.record, (SELECT patch FROM call_patches WHERE id = NEW.id))
        WHERE id = NEW.id;
END;
CREATE TRIGGER calls_patch_out AFTER DELETE ON calls BEGIN
    DELETE FROM call_patches WHERE id = OLD.id;
END;
