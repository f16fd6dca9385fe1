-- Orders: requests that may take several calls. `lane` is who takes turns with others (a campaign, a batch, or the single
-- orders of an organization); `due_us` is when to dial, null while an attempt is under way and when the order is over.
CREATE TABLE orders (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL,
    status          TEXT NOT NULL,
    result          TEXT,
    over            INTEGER NOT NULL,
    lane            TEXT NOT NULL,
    due_us          INTEGER,
    concurrency_key TEXT,
    attempts        INTEGER NOT NULL,
    batch_id        TEXT,
    campaign_id     TEXT,
    call_id         TEXT,
    version         INTEGER NOT NULL,
    created_us      INTEGER NOT NULL,
    record          TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_due ON orders (lane, due_us, id) WHERE due_us IS NOT NULL;
CREATE INDEX orders_calling ON orders (id) WHERE status = 'calling';
CREATE INDEX orders_list ON orders (organization_id, created_us DESC, id DESC);
CREATE INDEX orders_status ON orders (organization_id, status, created_us DESC, id DESC);
CREATE INDEX orders_batch ON orders (batch_id, status, result) WHERE batch_id IS NOT NULL;
CREATE INDEX orders_campaign ON orders (campaign_id, status, result) WHERE campaign_id IS NOT NULL;
CREATE INDEX orders_batch_open ON orders (batch_id) WHERE batch_id IS NOT NULL AND over = 0;
CREATE INDEX orders_campaign_open ON orders (campaign_id) WHERE campaign_id IS NOT NULL AND over = 0;
CREATE UNIQUE INDEX orders_call ON orders (call_id) WHERE call_id IS NOT NULL;

-- The calls of an order. The key is what makes two dials of one attempt impossible.
CREATE TABLE attempts (
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    call_id  TEXT NOT NULL UNIQUE REFERENCES calls (id) ON DELETE CASCADE,
    PRIMARY KEY (order_id, attempt)
) STRICT, WITHOUT ROWID;

-- What a queued call needs to be dialled after a restart; gone as soon as it is dialled.
CREATE TABLE dials (
    call_id TEXT PRIMARY KEY NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    request TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER dials_done AFTER UPDATE OF status ON calls
WHEN old.status = 'queued' AND new.status <> 'queued'
BEGIN
    DELETE FROM dials WHERE call_id = new.id;
END;

CREATE TABLE batches (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL,
    status          TEXT NOT NULL,
    created_us      INTEGER NOT NULL,
    record          TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_list ON batches (organization_id, created_us DESC, id DESC);
CREATE INDEX batches_open ON batches (id) WHERE status = 'queued';

CREATE TABLE campaigns (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL,
    status          TEXT NOT NULL,
    created_us      INTEGER NOT NULL,
    record          TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX campaigns_list ON campaigns (organization_id, created_us DESC, id DESC);
CREATE INDEX campaigns_open ON campaigns (id) WHERE status IN ('running', 'scheduled');

-- `copy` is empty unless the same number may stand in a campaign more than once.
CREATE TABLE leads (
    id          TEXT PRIMARY KEY NOT NULL,
    campaign_id TEXT NOT NULL REFERENCES campaigns (id) ON DELETE CASCADE,
    number      TEXT NOT NULL,
    copy        TEXT NOT NULL,
    order_id    TEXT NOT NULL UNIQUE,
    record      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX leads_number ON leads (campaign_id, number, copy);
CREATE INDEX leads_list ON leads (campaign_id, id);

CREATE TABLE do_not_call (
    organization_id TEXT NOT NULL,
    number          TEXT NOT NULL,
    created_us      INTEGER NOT NULL,
    record          TEXT NOT NULL,
    PRIMARY KEY (organization_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX do_not_call_list ON do_not_call (organization_id, created_us DESC);
