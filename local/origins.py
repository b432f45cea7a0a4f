"""Which web pages may use a server of this machine: its own, by the names that it is known by.

A page of any site can send requests to 127.0.0.1, and a site whose name resolves to 127.0.0.1 can
read the answers too (DNS rebinding). Programs such as curl send no ``Origin`` and no
``Sec-Fetch-Site`` and are not concerned.
"""

from __future__ import annotations

from email.message import Message
from urllib.parse import urlsplit

from chalicelib.errors import Forbidden, InvalidRequest

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
TRUSTED_SITES = frozenset({"same-origin", "none"})  # "none": the person typed the address
READING = frozenset({"GET", "HEAD"})
HTTP_PORT = 80


class Origins:
    """The names under which a server may be used.

    Parameters
    ----------
    port : int
        Of the server.
    names : str, optional
        Further names or addresses behind commas, such as ``192.168.1.5,photos.example:443``;
        without a port both the server's own and none are taken.
    """

    def __init__(self, port: int, names: str = "") -> None:
        self._hosts = {f"{name}:{port}" for name in LOOPBACK}
        if port == HTTP_PORT:
            self._hosts.update(LOOPBACK)
        for name in filter(None, (each.strip().lower() for each in names.split(","))):
            has_port = urlsplit(f"//{name}").port is not None
            self._hosts.update({name} if has_port else {name, f"{name}:{port}"})

    def check(self, method: str, headers: Message) -> None:
        """Refuse what another site's page sends.

        Raises
        ------
        InvalidRequest
            There is not exactly one ``Host``.
        Forbidden
            ``Host`` or ``Origin`` is not ours, or the browser says that another site sends it.
        """
        hosts = headers.get_all("host", [])
        if len(hosts) != 1:
            raise InvalidRequest("send exactly one Host header")
        if hosts[0].strip().lower() not in self._hosts:
            raise Forbidden(
                f"this server is not {hosts[0][:100]!r}: use http://127.0.0.1 with its port, or "
                "have SIGHTLOOP_ALLOWED_HOSTS name the host"
            )
        if not all(self._is_ours(origin) for origin in headers.get_all("origin", [])):
            raise Forbidden("pages of other sites may not use this server (Origin)")
        if not _is_trusted(method, headers):
            raise Forbidden("pages of other sites may not use this server (Sec-Fetch-Site)")

    def _is_ours(self, origin: str) -> bool:
        scheme, mark, host = origin.strip().lower().partition("://")
        return bool(mark) and scheme in {"http", "https"} and host in self._hosts


def _is_trusted(method: str, headers: Message) -> bool:
    """Tell whether a browser's request comes from our own page, or follows a link to a page."""
    sites = {site.strip().lower() for site in headers.get_all("sec-fetch-site", [])}
    follows_link = (
        method in READING
        and headers.get("sec-fetch-mode", "").lower() == "navigate"
        and headers.get("sec-fetch-dest", "").lower() == "document"
    )
    return sites <= TRUSTED_SITES or follows_link


def refuse_browsers(method: str, headers: Message, port: int) -> None:
    """Refuse whatever a browser sends: for servers that only programs of this machine use.

    Raises
    ------
    InvalidRequest, Forbidden
    """
    Origins(port).check(method, headers)
    if "origin" in headers or "sec-fetch-site" in headers:
        raise Forbidden("browsers may not use this server")
