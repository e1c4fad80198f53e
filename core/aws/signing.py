"""AWS Signature Version 4 of a websocket request to Neptune.

https://docs.aws.amazon.com/neptune/latest/userguide/iam-auth-connecting-gremlin-python.html
"""

from __future__ import annotations

from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

from core.errors import ConfigError

SERVICE = "neptune-db"


def neptune_headers(url: str, region: str, session: Session) -> Mapping[str, str]:
    """The headers of a GET of `url` (`wss://host:port/gremlin`), signed with the session's credentials as they are now.

    Raises ConfigError where AWS's usual chain finds no credentials.
    """
    credentials = session.get_credentials()
    if credentials is None:
        raise ConfigError("a Neptune region is set, but there are no AWS credentials in the environment")
    request = AWSRequest(method="GET", url=url.replace("wss://", "https://", 1).replace("ws://", "http://", 1))
    # botocore leaves a port out of Host only where it is the scheme's own, exactly as aiohttp does.
    SigV4Auth(credentials.get_frozen_credentials(), SERVICE, region).add_auth(request)
    return dict(request.headers.items())
