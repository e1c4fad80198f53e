-- One row: where the log stands (version), the oldest readable version (floor), and what the next chunk, journal item,
-- delivery and audit record are numbered. Whoever writes holds its lock until the commit, so that numbers grow in
-- commit order: sequences would not.
CREATE TABLE graph (
    id            integer PRIMARY KEY CHECK (id = 1),
    version       bigint NOT NULL,
    floor         bigint NOT NULL,
    next_chunk    bigint NOT NULL,
    next_journal  bigint NOT NULL,
    next_delivery bigint NOT NULL,
    next_audit    bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO graph VALUES (1, 0, 0, 1, 1, 1, 1);

-- The last commit of each process, by which it finds out what became of one whose answer was lost.
CREATE TABLE writers (
    id     text PRIMARY KEY,
    number bigint NOT NULL,
    at     double precision NOT NULL
) WITH (fillfactor = 50);

-- Rights that one process has at a time, until then by the server's clock.
CREATE TABLE leases (
    name   text COLLATE "C" PRIMARY KEY,
    holder text NOT NULL,
    number bigint NOT NULL,
    until  double precision NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE log (
    version     bigint PRIMARY KEY,
    op          text NOT NULL,
    document_id text NOT NULL,
    source      text,
    access      text,             -- a JSON list of principals; NULL is public
    at          double precision NOT NULL
);

-- A version of a document is named by the graph version that opened it. Ids sort by their bytes.
CREATE TABLE documents (
    v_from       bigint PRIMARY KEY,
    v_to         bigint,
    document_id  text COLLATE "C" NOT NULL,
    content_hash bytea NOT NULL,
    metadata     text NOT NULL,
    origin       text NOT NULL,
    chunk_ids    bytea NOT NULL,  -- 64-bit integers, little-endian, in text order
    chunk_starts bytea NOT NULL   -- 64-bit integers, little-endian: where each begins in the document's text, in characters
);
CREATE UNIQUE INDEX documents_current ON documents (document_id) WHERE v_to IS NULL;
CREATE INDEX documents_past ON documents (document_id, v_from) WHERE v_to IS NOT NULL;
CREATE INDEX documents_closed ON documents (v_to) WHERE v_to IS NOT NULL;

-- Mentions and relations are JSON, as in core/packing.py.
CREATE TABLE chunks (
    id          bigint PRIMARY KEY,
    v_from      bigint NOT NULL,
    document_id text COLLATE "C" NOT NULL,
    hash        bytea NOT NULL,
    text        text NOT NULL,
    sentences   bytea NOT NULL,   -- 32-bit pairs (start, end) in the chunk, in characters
    mentions    text NOT NULL,
    relations   text NOT NULL
);

CREATE TABLE records (
    scope text NOT NULL,
    key   text COLLATE "C" NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE TABLE journal (
    sequence bigint PRIMARY KEY,
    id       text NOT NULL UNIQUE,
    kind     text NOT NULL,
    payload  text NOT NULL,
    actor    text NOT NULL
);

CREATE TABLE deliveries (
    sequence        bigint PRIMARY KEY,
    id              text NOT NULL UNIQUE,
    endpoint        text NOT NULL,
    event           text NOT NULL,
    subject         text NOT NULL,
    payload         text NOT NULL,
    target          text,
    state           text NOT NULL DEFAULT 'pending',
    attempts        integer NOT NULL DEFAULT 0,
    created_at      double precision NOT NULL,
    next_attempt_at double precision NOT NULL,
    error           text
);
CREATE INDEX deliveries_pending ON deliveries (endpoint, subject, sequence) WHERE state = 'pending';
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (endpoint) WHERE state = 'dead';

CREATE TABLE attempts (
    sequence        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id     text NOT NULL,
    at              double precision NOT NULL,
    duration        double precision NOT NULL,
    state           text NOT NULL,
    next_attempt_at double precision NOT NULL,
    status          integer,
    error           text,
    response        text NOT NULL
);
CREATE INDEX attempts_of ON attempts (delivery_id);

CREATE TABLE audit (
    sequence bigint PRIMARY KEY,
    at       double precision NOT NULL,
    actor    text NOT NULL,
    action   text NOT NULL,
    subject  text NOT NULL,
    detail   text NOT NULL
);
