-- What calls used and cost, for reports and the month's budget. It outlives the erasure of a call: it holds nothing that
-- was said, and money that was spent stays spent. `number` is ours, and forgotten with the call.
CREATE TABLE usage_calls (
    call_id         TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    ended_us        INTEGER NOT NULL,
    day             TEXT NOT NULL,
    agent_id        TEXT,
    number          TEXT,
    talk_seconds    INTEGER NOT NULL,
    currency        TEXT,
    cost_micros     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_calls_time ON usage_calls (organization_id, ended_us);
CREATE INDEX usage_calls_month ON usage_calls (ended_us, organization_id, currency, cost_micros);

CREATE TABLE usage (
    call_id         TEXT NOT NULL REFERENCES usage_calls (call_id) ON DELETE CASCADE,
    kind            TEXT NOT NULL,
    provider        TEXT NOT NULL,
    model           TEXT NOT NULL,
    unit            TEXT NOT NULL,
    quantity        REAL NOT NULL,
    amount_micros   INTEGER,
    PRIMARY KEY (call_id, kind, provider, model, unit)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER usage_forgets_numbers AFTER DELETE ON calls BEGIN
    UPDATE usage_calls SET number = NULL WHERE call_id = OLD.id;
END;
