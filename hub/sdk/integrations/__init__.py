"""Questions and documents in the words of a help desk, of research, and of a CMS.

A `…Integration` is for programs: it is made on a `GraphService`, or on anything that answers `query` likewise. A
`…Form` is for connectors: it answers `POST /ask/{connector}`, on behalf of whoever asks.
"""

from hub.sdk.integrations.asks import FormAsk
from hub.sdk.integrations.cms import CMSIntegration, ContentClient, ContentItem, SyncReport
from hub.sdk.integrations.research import Paper, ResearchAnswer, ResearchAsk, ResearchForm, ResearchIntegration
from hub.sdk.integrations.support import SupportAnswer, SupportAsk, SupportForm, SupportIntegration, SupportSource

__all__ = [
    "CMSIntegration",
    "ContentClient",
    "ContentItem",
    "FormAsk",
    "Paper",
    "ResearchAnswer",
    "ResearchAsk",
    "ResearchForm",
    "ResearchIntegration",
    "SupportAnswer",
    "SupportAsk",
    "SupportForm",
    "SupportIntegration",
    "SupportSource",
    "SyncReport",
]
