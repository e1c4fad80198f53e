from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import ConfigError, InvalidInput, NotFound
from core.service import create_graph_service
from hub.config import Config
from hub.keys import KeyRing, create_key, list_keys, revoke_key
from hub.runtime import Hub
from hub.web import ROUTES, serve
from hub.web.gate import REFUSALS_PER_MINUTE
from tests.integration.web.rig import OpenSite, Site

# ---------------------------------------------------------------- keys


async def test_a_key_is_shown_once_and_kept_only_as_a_hash(site: Site) -> None:
    info, secret = await create_key(site.service, "ci", ["write"], ["staff"])
    key = secret.get_secret_value()
    assert key.startswith(f"aime_{info.id}_")
    stored = str(await site.service.store.records("key"))
    assert key.removeprefix(f"aime_{info.id}_") not in stored
    assert key not in repr(secret) + repr(info)
    assert [each.id for each in await list_keys(site.service)] == [info.id]


async def test_a_key_is_known_until_it_is_revoked(site: Site) -> None:
    info, secret = await create_key(site.service, "ci")
    ring = KeyRing(site.service)
    await ring.reload()
    assert ring.authenticate(secret.get_secret_value()) == info
    await revoke_key(site.service, info.id)
    await ring.reload()
    assert ring.authenticate(secret.get_secret_value()) is None
    assert ring.guarded
    assert not ring.usable()


async def test_a_key_is_good_until_it_expires(site: Site) -> None:
    now = datetime.now(UTC)
    info, _ = await create_key(site.service, "ci", expires=now + timedelta(hours=1))
    assert info.usable(now + timedelta(minutes=59))
    assert not info.usable(now + timedelta(minutes=61))


@pytest.mark.parametrize(
    "wrong", ["", "aime", "aime__", "aime_0123456789ab_x", "xxxx_ID_SECRET", "aime_ID_SECRETx", "aime_ID_"]
)
async def test_what_is_no_key_authenticates_nobody(site: Site, wrong: str) -> None:
    info, secret = await create_key(site.service, "ci")
    ring = KeyRing(site.service)
    await ring.reload()
    part = secret.get_secret_value().split("_", 2)[2]
    assert ring.authenticate(wrong.replace("ID", info.id).replace("SECRET", part)) is None


async def test_a_key_that_makes_no_sense_is_refused_with_its_field(site: Site) -> None:
    for options, field in (
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["root"]}, "scopes.0"),
        ({"name": "a", "principals": [""]}, "principals.0"),
        ({"name": "a", "expires": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await create_key(site.service, **options)  # type: ignore[arg-type]  # wrong on purpose
        assert caught.value.field == field
    with pytest.raises(NotFound):
        await revoke_key(site.service, "nobody")


# ---------------------------------------------------------------- who may call what


async def test_without_keys_a_loopback_hub_is_open_and_the_actor_is_local(site: Site) -> None:
    await site.add("a")
    assert (await site.audit("document.processed"))[0]["actor"] == "local"


async def test_once_a_key_exists_a_call_needs_one(site: Site) -> None:
    secret = await site.make_key("read")
    refused = await site.call("GET", "/graph/version", status=401)
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="aime"'
    await site.call("GET", "/graph/version", headers={"Authorization": f"Bearer {secret}"})
    await site.call("GET", "/graph/version", headers={"X-API-Key": secret})
    for wrong in (secret + "x", "x", "ÿ", "aime_" + "0" * 12 + "_x"):
        await site.call("GET", "/graph/version", headers={"X-API-Key": wrong}, status=401)
    await site.call("GET", "/graph/version", headers={"Authorization": f"Basic {secret}"}, status=401)


async def test_a_revoked_key_is_refused_from_then_on_and_the_hub_does_not_fall_open(site: Site) -> None:
    secret = await site.make_key("read", "admin")
    site.key = secret
    key_id = secret.split("_")[1]
    await site.call("DELETE", f"/admin/keys/{key_id}")
    await site.call("GET", "/graph/version", status=401)
    site.key = None
    await site.call("GET", "/graph/version", status=401)


async def test_every_route_asks_for_its_scope_and_no_more(site: Site) -> None:
    keys = {scope: await site.make_key(scope) for scope in ("read", "write")}
    for route in ROUTES:
        path = route.template.replace("{", "").replace("}", "")
        for scope, key in keys.items():
            headers = {"Authorization": f"Bearer {key}"}
            answer = await site.call(route.method, path, headers=headers, status=None)
            allowed = route.scope is None or route.scope == scope
            assert (answer.status != 403) == allowed, (route, scope, answer.body)
        answer = await site.call(route.method, path, status=None)
        assert (answer.status != 401 or route.path.startswith("/hooks")) == (route.scope is None), route


async def test_a_key_sees_public_documents_and_those_of_its_principals(site: Site) -> None:
    await site.add("public", "Grace Hopper found a moth in the relay.")
    await site.add("staff", "Grace Hopper found a bug in the payroll.", access=["staff"])
    await site.add("board", "Grace Hopper found a hole in the budget.", access=["board"])
    site.key = await site.make_key("read", principals=("staff",))
    listed = (await site.call("GET", "/documents")).json["documents"]
    assert [document["document_id"] for document in listed] == ["public", "staff"]
    await site.call("GET", "/documents/board", status=404)
    changes = (await site.call("GET", "/changes")).json
    assert [change["document_id"] for change in changes["changes"]] == ["public", "staff"]
    answer = (await site.post("/query", {"query": "What did Grace Hopper find?", "top_k": 10})).json
    assert "board" not in {source["document_id"] for source in answer["sources"]}
    names = {entity["name"] for entity in (await site.call("GET", "/graph/entities")).json["entities"]}
    assert not any("budget" in name.lower() for name in names)


async def test_what_a_key_does_is_audited_under_its_id(site: Site) -> None:
    site.key = await site.make_key("write", "read")
    await site.add("a")
    await site.post("/query", {"query": "What did Grace Hopper find?"})
    key_id = site.key.split("_")[1]
    for action in ("document.processed", "query.answered", "key.used"):
        assert [record["actor"] for record in await site.audit(action)] == [key_id], action
    assert [record["actor"] for record in await site.audit("key.created")] == ["cli"]


async def test_refused_calls_are_audited_up_to_a_bound(site: Site) -> None:
    await site.make_key("read")
    for _ in range(REFUSALS_PER_MINUTE + 20):
        await site.call("GET", "/graph/version", headers={"X-API-Key": "aime_x_guess"}, status=401)
    records = await site.audit("auth.refused")
    assert len(records) == REFUSALS_PER_MINUTE
    assert records[0]["detail"]["path"] == "/graph/version"
    assert "guess" not in str(records)


async def test_the_audit_trail_holds_no_secret(site: Site) -> None:
    site.key = await site.make_key("read", "write", "admin")
    await site.add("a")
    trail = (await site.call("GET", "/admin/audit?limit=1000")).body.decode()
    assert site.key.split("_", 2)[2] not in trail


# ---------------------------------------------------------------- the open local mode


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::ffff", ""])
async def test_without_keys_a_foreign_host_name_is_refused(site: Site, host: str) -> None:
    await site.call("GET", "/graph/version", headers={"Host": host}, status=403)


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "hub.localhost"])
async def test_without_keys_a_loopback_name_is_fine(site: Site, host: str) -> None:
    await site.call("GET", "/graph/version", headers={"Host": host.format(port=site.port)})


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
async def test_without_keys_a_page_of_another_site_is_refused(site: Site, origin: str) -> None:
    headers = {"Origin": origin, "Content-Type": "application/json"}
    await site.call("POST", "/documents", data=b"{}", headers=headers, status=403)


async def test_the_hubs_own_page_may_call_it(site: Site) -> None:
    await site.call("GET", "/graph/version", headers={"Origin": site.server.url})


async def test_with_a_key_the_host_name_does_not_matter(site: Site) -> None:
    site.key = await site.make_key("read")
    await site.call("GET", "/graph/version", headers={"Host": "hub.example.com", "Origin": "https://example.com"})


# ---------------------------------------------------------------- listening


async def test_a_public_address_is_refused_without_a_key_and_served_with_one(open_site: OpenSite) -> None:
    with pytest.raises(ConfigError, match="API key"):
        async with open_site(listen="0.0.0.0:0"):
            pass
    async with open_site() as site:
        secret = await site.make_key("read")
    async with open_site(listen="0.0.0.0:0") as site:
        url = f"http://127.0.0.1:{site.port}/graph/version"
        async with site.session.get(url) as refused, site.session.get(url, headers={"X-API-Key": secret}) as served:
            assert (refused.status, served.status) == (401, 200)


async def test_a_port_in_use_is_named(site: Site) -> None:
    with pytest.raises(ConfigError, match=f"127.0.0.1:{site.port} is in use"):
        await serve(site.hub, f"127.0.0.1:{site.port}")


async def test_a_command_on_this_machine_finds_the_hub_by_the_lock(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]  # a path
    from core.store.sqlite.lock import read_holder

    holder = read_holder(tmp_path / "test.db")
    assert holder is not None
    assert holder.url == site.server.url
    assert holder.token is not None
    await site.make_key("read")
    await site.call("GET", "/admin/status", headers={"Authorization": f"Bearer {holder.token}"})


async def test_a_server_that_is_closed_leaves_the_hub_running(tmp_path) -> None:  # type: ignore[no-untyped-def]  # a path
    async with (
        await create_graph_service(f"sqlite:{tmp_path / 'a.db'}") as service,
        Hub(Config(), service=service) as hub,
    ):
        for _ in range(2):
            async with await serve(hub, "127.0.0.1:0"):
                pass
        assert await service.head() == 0
