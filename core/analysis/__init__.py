"""Pure functions from what is read of a document to chunks, sentences, mentions and relations."""

from core.analysis.analyse import ANALYSER, analyse
from core.analysis.names import capitalised_spans, title_name
from core.analysis.source import Source
from core.analysis.text import text_of

__all__ = ["ANALYSER", "Source", "analyse", "capitalised_spans", "text_of", "title_name"]
