"""How much of the server one visitor may take: places of streams, and what an upload may become."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from dpo.dashboard.audit_jobs import AuditJobs
from dpo.dashboard.web.streams import Streams
from dpo.errors import BusyError, DataError, PolicyError
from dpo.policies.names import resolve
from dpo.preferences.normalise import Columns

PAIRS = "".join(json.dumps({"prompt": f"p{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"}) + "\n" for n in range(20))


def test_one_visitor_leaves_places_for_others() -> None:
    from flask import Flask

    server, streams = Flask("test"), Streams(most=4, each=2)
    with server.test_request_context(environ_base={"REMOTE_ADDR": "10.0.0.1"}):
        leave = [streams.enter() for _ in range(2)]
        with pytest.raises(BusyError, match="You follow 2"):
            streams.enter()
    with server.test_request_context(environ_base={"REMOTE_ADDR": "10.0.0.2"}):
        leave += [streams.enter() for _ in range(2)]
    with server.test_request_context(environ_base={"REMOTE_ADDR": "10.0.0.3"}):
        with pytest.raises(BusyError, match="4 answers"):
            streams.enter()
        leave[0]()
        leave[0]()  # once counts
        streams.enter()
    assert streams._held == {"10.0.0.1": 1, "10.0.0.2": 2, "10.0.0.3": 1}


def test_uploads_that_unpack_to_gigabytes_are_refused_and_removed(tmp_path: Path) -> None:
    """Read in a process of its own: 50 kB of Parquet that hold 40 GB, and a row of more columns than pairs have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def sent(path: Path) -> str:
        return "data:;base64," + base64.b64encode(path.read_bytes()).decode()

    words = [pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array([letter * 1_000_000]))
             for letter in "xy"]  # fmt: skip
    table = pa.table({"prompt": [f"p{n}" for n in range(20_000)], "chosen": words[0], "rejected": words[1]})
    pq.write_table(table, tmp_path / "large.parquet", compression="zstd")
    (tmp_path / "wide.jsonl").write_text(json.dumps({f"c{n}": n for n in range(2000)}) + "\n")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "good.jsonl").write_text(PAIRS)
    audits = AuditJobs(tmp_path)
    for name, why in (("large.parquet", "of memory|MB when it is unpacked"), ("wide.jsonl", "2,000 columns"),
                      ("deep.json", "cannot be read")):  # fmt: skip
        with pytest.raises(DataError, match=why) as told:
            audits.receive(name, sent(tmp_path / name))
        assert str(audits._place) not in str(told.value) and "\n" not in str(told.value)
    assert audits._place is not None and list(audits._place.iterdir()) == []
    value = audits.receive("good.jsonl", sent(tmp_path / "good.jsonl"))
    found = audits.look(value, Columns())
    assert found is not None and not found.problem
    audits.close()


@pytest.mark.parametrize("name", ["é/" * 300, "x/" * 3000, "~no-such-user/x", "a\0b", "\ud800"])
def test_names_that_no_file_can_have_are_refused_in_a_line(name: str) -> None:
    with pytest.raises(PolicyError, match="^No policy "):
        resolve(name)
