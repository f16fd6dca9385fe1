-- What a call is filtered by besides the columns of 0001. `after_due`: the call is over and its analysis is not.
ALTER TABLE calls ADD COLUMN organization_id TEXT NOT NULL DEFAULT '00000000-0000-7000-8000-000000000000';
ALTER TABLE calls ADD COLUMN number_id TEXT;
ALTER TABLE calls ADD COLUMN order_id TEXT;
ALTER TABLE calls ADD COLUMN batch_id TEXT;
ALTER TABLE calls ADD COLUMN campaign_id TEXT;
ALTER TABLE calls ADD COLUMN answered_by TEXT;
ALTER TABLE calls ADD COLUMN call_type TEXT NOT NULL DEFAULT 'phone_call';
ALTER TABLE calls ADD COLUMN is_test INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN duration_ms INTEGER;
ALTER TABLE calls ADD COLUMN after_due INTEGER NOT NULL DEFAULT 0;
CREATE INDEX calls_order ON calls (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX calls_after_due ON calls (id) WHERE after_due = 1;

-- What operators make through the API: agents and their versions, numbers, trunks, templates, credentials, webhook
-- endpoints, organizations. `doc` is the public JSON without secrets; `sealed` holds what must not be read back.
-- `unique_key` is a name that may exist once in a kind, for example a phone number.
CREATE TABLE resources (
    kind            TEXT NOT NULL,
    id              TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    unique_key      TEXT,
    version         INTEGER NOT NULL,
    archived        INTEGER NOT NULL,
    created_us      INTEGER NOT NULL,
    updated_us      INTEGER NOT NULL,
    doc             TEXT NOT NULL,
    sealed          BLOB,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX resources_unique ON resources (kind, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX resources_list ON resources (kind, organization_id, archived, created_us DESC, id DESC);

-- The transactional outbox: an event stands here in the same transaction as the state change it tells of. `once`
-- makes repeated writes of the same state one event; `data` is the domain's record at that moment.
CREATE TABLE outbox (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    organization_id TEXT NOT NULL,
    call_id         TEXT,
    order_id        TEXT,
    type            TEXT NOT NULL,
    once            TEXT,
    at_us           INTEGER NOT NULL,
    inline_url      TEXT,
    data            TEXT NOT NULL,
    expanded        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX outbox_once ON outbox (call_id, once) WHERE once IS NOT NULL;
CREATE INDEX outbox_call ON outbox (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX outbox_new ON outbox (seq) WHERE expanded = 0;
