"""Measures every page and call on top of a million images and a million requests.

    python benchmarks/million.py                       # ten datasets of 100,000; some ten minutes
    python benchmarks/million.py --each 1000           # a quick look
    python benchmarks/million.py --plans               # with the plan of every query

The rows lie in the PostgreSQL that ``make run`` starts, with its settings; the calls go through the
app's own handler in this process, over moto in place of S3, DynamoDB and SQS. What is measured is
the median of some calls in turn, each from the request to the whole answer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "POWERTOOLS_SERVICE_NAME": "benchmark",
}

import psycopg2  # noqa: E402
from chalice.test import Client  # noqa: E402
from moto import mock_aws  # noqa: E402

from benchmarks.million_rows import Amount, fill  # noqa: E402
from chalicelib import wiring  # noqa: E402
from chalicelib.database import Database  # noqa: E402
from chalicelib.settings import Settings  # noqa: E402
from chalicelib.storage import ObjectStore, StoredObject  # noqa: E402
from deploy import resources  # noqa: E402
from deploy.migrate import migrate  # noqa: E402
from local.home import Home  # noqa: E402
from local.postgres import Postgres  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

AIM_MS = 200
SUBMISSIONS = 30
Query = tuple[str, Any]


@dataclass(frozen=True)
class Call:
    """One page or call, and what the answer must be."""

    title: str
    send: Callable[[], Any]
    statuses: tuple[int, ...] = (200,)
    once: bool = False


class PictureStore(ObjectStore):
    """The store bucket, in which every image of a dataset is the same picture."""

    picture = (ROOT / "chalicelib/web/static/samples/tag-1.jpg").read_bytes()

    def get(self, key: str, version: str = "") -> StoredObject:
        """Read an object."""
        if "/images/" in key or key.startswith("quarantine/"):
            return StoredObject(self.picture, '"0"', "image/jpeg", {})
        return super().get(key)


class Recorder:
    """A cursor that remembers what it was asked."""

    def __init__(self, rows: Any, heard: list[Query]) -> None:
        self._rows = rows
        self._heard = heard

    def execute(self, query: Any, given: Any = None) -> None:
        """Run a query and remember it."""
        self._heard.append((query if isinstance(query, str) else query.decode(), given))
        self._rows.execute(query, given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)


class ListeningDatabase(Database):
    """The app's database, whose queries are remembered while somebody listens."""

    heard: list[Query] | None = None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Give a cursor, as the database does."""
        with super().transaction() as rows:
            yield rows if self.heard is None else Recorder(rows, self.heard)


class Bench:
    """The app over a filled database."""

    def __init__(self, url: str, amount: Amount) -> None:
        import boto3  # noqa: PLC0415 - moto has to stand in for it first

        chosen = Settings.from_environment({"SIGHTLOOP_DATABASE_URL": url})
        services = ("s3", "sqs", "dynamodb", "secretsmanager")
        clients = {name: boto3.client(name, region_name=chosen.region) for name in services}
        resources.ensure(chosen, clients.__getitem__)
        for bucket in (chosen.uploads_bucket, chosen.store_bucket):
            clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
        self.services = wiring.Services(chosen, clients)
        self.database = ListeningDatabase(url)
        self.services.__dict__["database"] = self.database
        self.services.__dict__["store"] = PictureStore(clients["s3"], chosen.store_bucket)
        wiring.provide(self.services)
        self.amount = amount
        self._publish()
        from app import app  # noqa: PLC0415 - it reads the settings when it is called first

        self._http = Client(app).http
        token = self.services.secrets.read().operators["operator"]
        self._as_operator = {"Authorization": f"Bearer {token}"}

    def _publish(self) -> None:
        onnx = (ROOT / "models/scratch/model.onnx").read_bytes()
        metrics = (ROOT / "models/scratch/metrics.json").read_bytes()
        for number in range(self.amount.models):
            self.services.publisher.publish(f"m{number}", onnx, metrics)

    def get(self, path: str) -> Callable[[], Any]:
        """Return a call that anybody may make; an operator makes it."""
        return lambda: self._http.get(path, headers=self._as_operator)

    def post(self, path: str, body: object) -> Callable[[], Any]:
        """Return a call by an operator, with JSON."""
        headers = {**self._as_operator, "Content-Type": "application/json"}
        return lambda: self._http.post(path, headers=headers, body=json.dumps(body).encode())

    def kept(self, model: str, photo: bytes) -> Any:
        """Detect, and keep what was found."""
        headers = {**self._as_operator, "Content-Type": "image/jpeg"}
        answer = self._http.post(
            f"/v1/models/{model}/detections?keep=true", headers=headers, body=photo
        )
        return json.loads(answer.body)

    def cut(self) -> Any:
        """Write a dataset down, as the worker does."""
        names = self.services.pending_models.class_names("m0")
        self.services.dataset_versions.cut("m0", names, "operator:operator")
        return SimpleNamespace(status_code=200)

    def forget(self) -> None:
        """Make anew what knows of datasets, to know what a process knows at its start."""
        for name in ("dataset", "submissions"):
            self.services.__dict__.pop(name, None)

    def ask(self, query: str) -> Any:
        """Return the one value that a query gives."""
        with self.services.database.transaction() as rows:
            rows.execute(query)
            [(value,)] = rows.fetchall()
            return value


def calls(bench: Bench) -> Iterator[Call]:
    """Give every page and call of what people correct and how it is trusted."""
    from chalicelib.web.routes import PAGES  # noqa: PLC0415 - see Bench

    half = bench.amount.rows // 2
    for page in PAGES:
        yield Call(f"GET {page}", bench.get(page))
    yield from _models(bench)
    yield from _datasets(bench, half)
    yield from _trust(bench)
    yield from _review(bench)
    yield from _submissions(bench)
    yield from _transfers(bench)


def _models(bench: Bench) -> Iterator[Call]:
    for path in ("/v1/models", "/v1/models/m0", "/v1/pending-models"):
        yield Call(f"GET {path}", bench.get(path))


def _datasets(bench: Bench, half: int) -> Iterator[Call]:
    image = bench.ask(f"SELECT sha256 FROM samples WHERE sample_id = {half - half % 5 + 1}")
    model = "m5" if bench.amount.models > 5 else "m0"
    at = f"/v1/models/{model}"
    yield Call("GET …/dataset", bench.get(f"{at}/dataset"))
    yield Call("GET …/dataset/images", bench.get(f"{at}/dataset/images"))
    paged = f"side=valid&class=2&after={half}&limit=100"
    yield Call(f"GET …/dataset/images?{paged}", bench.get(f"{at}/dataset/images?{paged}"))
    of_image = bench.ask(f"SELECT model FROM samples WHERE sha256 = '{image}'")
    history = f"/v1/models/{of_image}/dataset/images/{image}"
    yield Call("GET …/dataset/images/{sha256}", bench.get(history))
    yield Call("GET …/dataset/clusters", bench.get(f"{at}/dataset/clusters"))
    yield Call(
        "GET …/dataset/clusters?leaking=true", bench.get(f"{at}/dataset/clusters?leaking=true")
    )
    yield Call("GET …/datasets", bench.get(f"{at}/datasets"))


def _transfers(bench: Bench) -> Iterator[Call]:
    """Ask for an import and for an export; cut a version, which a worker does of a large one."""
    for kind, asked in (("imports", {}), ("exports", {"format": "coco", "images": "links"})):
        path = f"/v1/models/m0/{kind}"
        told = json.loads(bench.post(path, asked)().body)
        yield Call(f"POST …/{kind}", bench.post(path, asked), (201,))
        of_one = told["links"]["self"]
        yield Call(f"GET /v1/{kind}/{{id}}", bench.get(of_one))
    yield Call("POST …/datasets", bench.post("/v1/models/m0/datasets", {}), (200, 201, 202))
    cut = bench.services.transfers.ask_for_cut("m0", "operator:operator")
    yield Call("GET /v1/cuts/{id}", bench.get(f"/v1/cuts/{cut.transfer_id}"))
    yield Call(f"a version of {bench.amount.each:,} images, by the worker", bench.cut, once=True)


def _trust(bench: Bench) -> Iterator[Call]:
    yield Call("GET /v1/bans", bench.get("/v1/bans"))
    yield Call("GET /v1/bans/{user}", bench.get("/v1/bans/user:0"))
    yield Call("GET /v1/decisions", bench.get("/v1/decisions"))
    yield Call("GET /v1/decisions?user=", bench.get("/v1/decisions?user=user:0"))


def _review(bench: Bench) -> Iterator[Call]:
    last = bench.ask("SELECT max(request_id) FROM requests WHERE state = 'quarantined'")
    for query in ("limit=20", f"order=oldest&limit=20&after={last // 2}"):
        yield Call(f"GET /v1/review?{query}", bench.get(f"/v1/review?{query}"))
    for order in ("suspicious", "accuracy", "score", "submissions"):
        path = f"/v1/contributors?order={order}"
        yield Call(f"GET {path}", bench.get(path))
    yield Call("GET /v1/contributors/{user}", bench.get("/v1/contributors/user:0"))
    waiting = json.loads(bench.get("/v1/review?limit=50")().body)["waiting"]
    turn = iter(waiting)

    def decide(decision: str) -> Callable[[], Any]:
        return lambda: _decided(bench, next(turn), decision)

    for decision in ("reject", "accept"):
        yield Call(f"POST /v1/review/{{submission}}: {decision}", decide(decision))
    yield Call("POST …/tasks", bench.post("/v1/models/m0/tasks", {}), (200, 201))


def _decided(bench: Bench, item: Any, decision: str) -> Any:
    body = {"decision": decision, "why": "measured", "seen": item["updated_at"]}
    return bench.post(f"/v1/review/{item['submission_id']}", body)()


def _submissions(bench: Bench) -> Iterator[Call]:
    """Confirm what was found on photos of their own; the first of a process reads the dataset."""
    model = f"m{min(1, bench.amount.models - 1)}"
    path = f"/v1/models/{model}/submissions"
    for title in ("first of a process", "from then on"):
        photos = _photos(SUBMISSIONS, title)
        kept = iter([bench.kept(model, photo)["prediction_id"] for photo in photos])

        def submit(kept: Iterator[str] = kept, cold: bool = title.startswith("first")) -> Any:
            if cold:
                bench.forget()
            return bench.post(path, {"prediction_id": next(kept), "answer": "confirmed"})()

        yield Call(f"POST …/submissions, {title}", submit, (200, 201))


def _photos(count: int, name: str) -> Iterator[bytes]:
    for seed in range(count):
        buffer = BytesIO()
        draw_tag(500_000 + seed + len(name)).image.save(buffer, "JPEG")
        yield buffer.getvalue()


def main() -> None:
    """Fill, measure, print."""
    wanted = arguments()
    amount = Amount(wanted.models, wanted.each)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with server() as url, mock_aws():
        fill(url, amount)
        bench = Bench(url, amount)
        measured = measure(bench, list(calls(bench)), wanted.times)
        if wanted.plans:
            print_plans(url, measured)
        bench.services.database.close()


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--each", type=int, default=100_000, help="images and requests of a model")
    parser.add_argument("--times", type=int, default=21, help="that each call is made")
    parser.add_argument("--plans", action="store_true", help="print the plan of every query")
    return parser.parse_args()


@contextmanager
def server() -> Iterator[str]:
    """Run a PostgreSQL with our tables; give its URL."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "home")
        home.path.chmod(0o755)
        postgres = Postgres(home)
        try:
            migrate(postgres.url)
            yield postgres.url
        finally:
            postgres.stop()
            home.close()


def measure(bench: Bench, listed: Sequence[Call], times: int) -> dict[str, list[Query]]:
    """Print the median of each call, and return the queries that it made."""
    print(f"\n| {'call':58} | median ms | worst ms | queries |\n| --- | ---: | ---: | ---: |")
    asked: dict[str, list[Query]] = {}
    for call in listed:
        bench.database.heard = asked[call.title] = []
        begun = time.perf_counter()
        answer = call.send()
        first = (time.perf_counter() - begun) * 1000
        bench.database.heard = None
        if answer.status_code not in call.statuses:
            raise SystemExit(f"{call.title}: {answer.status_code} {answer.body[:500]!r}")
        took = [first] if call.once else [milliseconds(call.send) for _ in range(times)]
        median, over = statistics.median(took), ""
        if median >= AIM_MS:
            over = f" over {AIM_MS} ms"
        queries = len(asked[call.title])
        print(f"| {call.title:58} | {median:9.1f} | {max(took):8.1f} | {queries:7} |{over}")
    return asked


def milliseconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def print_plans(url: str, asked: dict[str, list[Query]]) -> None:
    """Print how PostgreSQL answers each query that reads."""
    with closing(psycopg2.connect(url, options="-c search_path=sightloop,public")) as held:
        for title, queries in asked.items():
            for query, given in queries:
                if query.lstrip().upper().startswith(("SELECT", "WITH")):
                    print("\n  ".join([f"\n{title}", *plan(held, query, given)]))


def plan(held: Any, query: str, given: Any) -> list[str]:
    """Return a query's plan, as it was carried out."""
    with held.cursor() as rows:
        rows.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, SUMMARY OFF) {query}", given)
        lines = [str(line) for (line,) in rows.fetchall()]
    held.rollback()
    return lines


if __name__ == "__main__":
    main()
