"""The collection: what the index holds of the log, fed with it in order.

It is interval-versioned like the store: an update or delete closes an interval and removes nothing, so the past is read
at no extra cost, and what is held depends on the log alone, not on when it was fed. Kept on disk is only what is costly
to compute (words, vectors); the rest is refilled from the log after every start.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import structlog

from core.analysis import ANALYSER, title_name
from core.analysis.languages import ENGLISH, language_code
from core.analysis.stems import stems, words_of
from core.errors import StoreCorrupt
from core.index.columns import Column
from core.index.documents import Documents
from core.index.entities import Entities, Links
from core.index.gazetteer import Gazetteer
from core.index.lexical import Lexical
from core.index.vectors import VectorFile, Vectors, embedding_table
from core.index.vocabulary import Numbers, Vocabulary
from core.model import LogEntry, NewChunk
from core.naming import entity

FORMAT: Final = "4"
"""Changes with the layout of what is on disk."""
_COMMIT_CHUNKS = 1_000
_WORDS_OF = 1_024
"""Chunks whose words are looked at together: a book's all at once would take a gigabyte."""

log = structlog.stdlib.get_logger(__name__)


class _Text(NamedTuple):
    """What there is to read of a chunk."""

    title: str
    text: str
    language: str


class Collection:
    """Every chunk, document version, entity and link of the log so far. `directory` None keeps everything in memory.
    `language` is the code of that of documents which name none."""

    def __init__(self, directory: Path | None, language: str = ENGLISH) -> None:
        self._directory = directory
        self._language = language
        self.version = 0
        """The last log entry that was applied."""
        self.chunk_ids = Column(np.int64)
        self.documents = Documents()
        self.entities = Entities()
        self.links = Links()
        self.embedder = embedding_table()
        self._vocabulary = Vocabulary(self.embedder.tokenise, self._language)
        self._gazetteer = Gazetteer(self._vocabulary)

    # -- life

    def open(self, epoch: int) -> None:
        """Take over what is on disk if it was made by this code for this epoch of the store; else begin empty."""
        made = json.dumps(
            {
                "analyser": ANALYSER,
                "format": FORMAT,
                "vectors": self.embedder.id,
                "language": self._language,
                "epoch": epoch,
            }
        )
        directory = self._directory
        if directory is None:
            self._open_parts(None)
            return
        try:
            if (directory / "made-by").read_text() == made:
                self._open_parts(directory)
                return
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("the index on disk is damaged and is built anew", directory=str(directory), error=str(error))
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self._open_parts(directory)
        (directory / "made-by").write_text(made)

    def _open_parts(self, directory: Path | None) -> None:
        # Before anybody is served: it would hold up the event loop in the middle of the first document or question.
        self.embedder.load()
        self.lexical = Lexical(directory / "words" if directory else None, self._language)
        self._prints = self.lexical.prints()
        self.vectors = VectorFile(directory / "vectors" if directory else None, self.lexical.count)
        self._holes = self.vectors.holes()

    def flush(self) -> None:
        """Keep on disk what was applied, unless it is so little that a restart does it again in no time."""
        if self.lexical.uncommitted >= _COMMIT_CHUNKS:
            self.lexical.commit()

    @property
    def unsettled(self) -> int:
        """Chunks that were applied and are not settled."""
        return self._gazetteer.unmatched

    def settle(self) -> bool:
        """Make all that was applied findable; whether it gave rise to new links."""
        self.lexical.commit()
        if not self._gazetteer.pending:
            return False
        self.links.add_found(self._gazetteer.matches(self.lexical.phrase))
        return True

    def close(self) -> None:
        self.lexical.close()
        self.vectors.close()

    # -- feeding

    def apply(self, entries: Sequence[LogEntry]) -> None:
        """Take the next entries of the log. Raises StoreCorrupt when what is on disk comes from another log."""
        added: list[_Text] = []
        for entry in entries:
            metadata = entry.document.metadata if entry.document else None
            title = metadata.title or "" if metadata else ""
            tag = metadata.language if metadata else None
            language = language_code(tag) if tag else self._language
            positions = {chunk.id: self._add_chunk(chunk) for chunk in entry.chunks}
            added.extend(_Text(title, chunk.text, language) for chunk in entry.chunks)
            previous = self.documents.close(entry.document_id, entry.version)
            if entry.document is not None:
                positions.update((int(self.chunk_ids.values[held]), held) for held in previous)
                held = [positions[chunk_id] for chunk_id in entry.document.chunk_ids]
                self.documents.add(entry.document, self._title_number(title), held)
            self.version = entry.version
        first = len(self.chunk_ids) - len(added)
        for at in range(0, len(added), _WORDS_OF):
            self._add_words(first + at, added[at : at + _WORDS_OF])

    def _add_chunk(self, chunk: NewChunk) -> int:
        """The chunk's position: its number in the order of the log."""
        position = len(self.chunk_ids)
        self.chunk_ids.append(chunk.id)
        self.links.add_mentions(position, chunk.named, self.entities)
        return position

    def _add_words(self, first: int, added: Sequence[_Text]) -> None:
        """The texts of the chunks from position `first` on, together: it costs a fraction of one by one."""
        whole = self._vocabulary.numbers([words_of(f"{chunk.title}\n{chunk.text}") for chunk in added])
        titles = [len(words_of(chunk.title)) for chunk in added]
        texts = [words[title:] for words, title in zip(whole, titles, strict=True)]
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self._gazetteer.add_chunks(self._vocabulary.hashes(np.concatenate(texts)), lengths)
        in_text, in_title = self._stem_counts(whole, titles)
        for position, (text, *counts) in enumerate(zip(added, in_text, in_title, strict=True), first):
            self._add_lexical(position, text, counts)
        missing = [at for at in range(len(added)) if first + at >= len(self._holes) or self._holes[first + at]]
        if missing:
            self.vectors.put([first + at for at in missing], self._embed([whole[at] for at in missing]))

    def _stem_counts(self, texts: Sequence[Numbers], title_words: Sequence[int]) -> tuple[list[int], list[int]]:
        """How many stems there are in each text, and in so many words at its beginning, if it is in the store's own
        language."""
        ends = np.cumsum([0, *map(len, texts)])
        stems_before = np.concatenate([[0], np.cumsum(self._vocabulary.stems(np.concatenate(texts)))])
        begun = stems_before[ends[:-1]]
        return (
            (stems_before[ends[1:]] - begun).tolist(),
            (stems_before[ends[:-1] + title_words] - begun).tolist(),
        )

    def _add_lexical(self, position: int, added: _Text, lengths: Sequence[int]) -> None:
        """`lengths` are the numbers of stems in text and title, in the store's own language."""
        text = f"{added.title}\n{added.text}" if added.title else added.text
        print_ = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        if position >= len(self._prints):
            if added.language != self._language:
                lengths = [len(stems(each, added.language)) for each in (text, added.title)]
            self.lexical.add(text, added.title, print_, added.language, lengths)
        elif print_ != self._prints[position]:
            raise StoreCorrupt(f"the index in {self._directory} was made from another store")
        else:
            self.lexical.note(added.language)

    def _embed(self, texts: Sequence[Numbers]) -> Vectors:
        """One vector for each text, given by the numbers of its words."""
        tokens, word_ends = self._vocabulary.tokens(np.concatenate(texts))
        ends = np.cumsum([0, *map(len, texts)])
        return self.embedder.embed(tokens, word_ends[ends])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """A unit vector for each text, or zeros: shape (n, 256)."""
        return self._embed(self._vocabulary.numbers(map(words_of, texts)))

    def _title_number(self, title: str) -> int:
        named = entity(title_name(title)) if title else None
        if named is None:
            return -1
        number = self.entities.number(named)
        if named.label != self.entities.labels[number]:
            self.entities.spellings.setdefault(number, {})
        self._gazetteer.add_title(number, named.label)
        return number
