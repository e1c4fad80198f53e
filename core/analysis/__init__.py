"""Pure functions from a document to chunks, sentences, mentions and relations."""

from core.analysis.analyse import ANALYSER, analyse, named_by
from core.analysis.names import capitalised_spans, title_name
from core.analysis.text import text_of

__all__ = ["ANALYSER", "analyse", "capitalised_spans", "named_by", "text_of", "title_name"]
