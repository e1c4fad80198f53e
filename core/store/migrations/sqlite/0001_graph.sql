-- One row: where the log stands (version), the oldest readable version (floor), the next chunk id (ids are never used again).
CREATE TABLE graph (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    version    INTEGER NOT NULL,
    floor      INTEGER NOT NULL,
    next_chunk INTEGER NOT NULL
) STRICT;
INSERT INTO graph VALUES (1, 0, 0, 1);

CREATE TABLE log (
    version     INTEGER PRIMARY KEY,
    op          TEXT NOT NULL,
    document_id TEXT NOT NULL,
    source      TEXT,
    access      TEXT,             -- a JSON list of principals; NULL is public
    at          REAL NOT NULL
) STRICT;

-- A version of a document is named by the graph version that opened it.
CREATE TABLE documents (
    v_from       INTEGER PRIMARY KEY,
    v_to         INTEGER,
    document_id  TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    metadata     TEXT NOT NULL,
    origin       TEXT NOT NULL,
    chunk_ids    BLOB NOT NULL,   -- 64-bit integers, in text order
    chunk_starts BLOB NOT NULL    -- 64-bit integers: where each begins in the document's text, in characters
) STRICT;
CREATE UNIQUE INDEX documents_current ON documents (document_id) WHERE v_to IS NULL;
CREATE INDEX documents_past ON documents (document_id, v_from) WHERE v_to IS NOT NULL;
CREATE INDEX documents_closed ON documents (v_to) WHERE v_to IS NOT NULL;

CREATE TABLE chunks (
    id          INTEGER PRIMARY KEY,
    v_from      INTEGER NOT NULL,
    document_id TEXT NOT NULL,
    hash        BLOB NOT NULL,
    text        TEXT NOT NULL,
    sentences   BLOB NOT NULL     -- 32-bit pairs (start, end) in the chunk, in characters
) STRICT;

CREATE TABLE entities (
    id    INTEGER PRIMARY KEY,
    type  TEXT NOT NULL,
    name  TEXT NOT NULL,
    label TEXT NOT NULL
) STRICT;

CREATE TABLE mentions (
    chunk      INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    entity     INTEGER NOT NULL,
    sentence   INTEGER NOT NULL,
    start      INTEGER NOT NULL,
    "end"      INTEGER NOT NULL,
    extractor  TEXT NOT NULL,
    confidence REAL NOT NULL,
    PRIMARY KEY (chunk, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE relations (
    chunk     INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    subject   INTEGER NOT NULL,
    predicate TEXT NOT NULL,
    object    INTEGER NOT NULL,
    sentence  INTEGER NOT NULL,
    PRIMARY KEY (chunk, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    scope TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    payload  TEXT NOT NULL,
    actor    TEXT NOT NULL
) STRICT;

CREATE TABLE deliveries (
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    endpoint        TEXT NOT NULL,
    event           TEXT NOT NULL,
    subject         TEXT NOT NULL,
    payload         TEXT NOT NULL,
    target          TEXT,
    state           TEXT NOT NULL DEFAULT 'pending',
    attempts        INTEGER NOT NULL DEFAULT 0,
    created_at      REAL NOT NULL,
    next_attempt_at REAL NOT NULL,
    error           TEXT
) STRICT;
CREATE INDEX deliveries_pending ON deliveries (endpoint, subject, sequence) WHERE state = 'pending';
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (endpoint) WHERE state = 'dead';

CREATE TABLE attempts (
    delivery_id     TEXT NOT NULL,
    at              REAL NOT NULL,
    duration        REAL NOT NULL,
    state           TEXT NOT NULL,
    next_attempt_at REAL NOT NULL,
    status          INTEGER,
    error           TEXT,
    response        TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_of ON attempts (delivery_id);

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at       REAL NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    detail   TEXT NOT NULL
) STRICT;
