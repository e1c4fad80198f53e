-- A chunk's mentions and relations are read and written with the chunk and never apart from it, so they stand in its
-- row, and name their entities by label: an entity is a function of its type and label.
--
-- mentions:  [[label, sentence, start, end, extractor], …], with type and confidence after them unless they are "name", 1.0
-- relations: [[type, label, predicate, type, label, sentence], …]
ALTER TABLE chunks ADD COLUMN mentions TEXT NOT NULL DEFAULT '[]';
ALTER TABLE chunks ADD COLUMN relations TEXT NOT NULL DEFAULT '[]';

UPDATE chunks SET mentions = found.packed FROM (
    SELECT chunk, json_group_array(
        CASE WHEN type = 'name' AND confidence = 1.0 THEN json_array(label, sentence, start, "end", extractor)
        ELSE json_array(label, sentence, start, "end", extractor, type, confidence) END
    ) AS packed
    FROM (SELECT * FROM mentions JOIN entities ON entities.id = mentions.entity ORDER BY chunk, n) GROUP BY chunk
) AS found WHERE chunks.id = found.chunk;

UPDATE chunks SET relations = found.packed FROM (
    SELECT chunk, json_group_array(
        json_array(subject_type, subject_label, predicate, object_type, object_label, sentence)
    ) AS packed
    FROM (
        SELECT chunk, predicate, sentence, subjects.type AS subject_type, subjects.label AS subject_label,
            objects.type AS object_type, objects.label AS object_label
        FROM relations
        JOIN entities AS subjects ON subjects.id = relations.subject
        JOIN entities AS objects ON objects.id = relations.object
        ORDER BY chunk, n
    ) GROUP BY chunk
) AS found WHERE chunks.id = found.chunk;

DROP TABLE mentions;
DROP TABLE relations;
DROP TABLE entities;
