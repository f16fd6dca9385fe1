-- What is sent of an event: frozen when its destinations are chosen, the same octets for each of them and every try.
CREATE TABLE webhook_bodies (
    event_id TEXT NOT NULL PRIMARY KEY,
    call_id  TEXT,
    order_id TEXT,
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX webhook_bodies_call ON webhook_bodies (call_id) WHERE call_id IS NOT NULL;

-- One event to one destination. `endpoint_id` is null for the `webhook_url` of a call or agent; `destination` is what
-- must not be sent to too often at once: an endpoint, or the host of such a URL. `tries` counts the attempts of the
-- present round of the schedule, `attempt_count` all of them.
CREATE TABLE webhook_deliveries (
    id                   TEXT NOT NULL PRIMARY KEY,
    seq                  INTEGER NOT NULL,
    event_id             TEXT NOT NULL,
    event_type           TEXT NOT NULL,
    organization_id      TEXT NOT NULL,
    endpoint_id          TEXT,
    call_id              TEXT,
    order_id             TEXT,
    destination          TEXT NOT NULL,
    url                  TEXT NOT NULL,
    status               TEXT NOT NULL,
    attempt_count        INTEGER NOT NULL DEFAULT 0,
    tries                INTEGER NOT NULL DEFAULT 0,
    manual_retry_count   INTEGER NOT NULL DEFAULT 0,
    next_us              INTEGER,
    last_error           TEXT,
    last_response_status INTEGER,
    delivered_us         INTEGER,
    created_us           INTEGER NOT NULL,
    updated_us           INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX webhook_deliveries_event ON webhook_deliveries (event_id, destination);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (destination, next_us, seq) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_next ON webhook_deliveries (next_us) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_list ON webhook_deliveries (organization_id, id);
CREATE INDEX webhook_deliveries_call ON webhook_deliveries (call_id, id) WHERE call_id IS NOT NULL;
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX webhook_deliveries_done ON webhook_deliveries (updated_us) WHERE status <> 'pending';
