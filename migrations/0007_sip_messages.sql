-- The SIP messages of a call, secrets written over: one JSON text a call, written once it is over. It goes with the
-- call.
CREATE TABLE sip_messages (
    call_id TEXT PRIMARY KEY NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    record  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
