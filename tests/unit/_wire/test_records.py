from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._server.endpoints.records import plain
from tinkex._wire import records
from tinkex.errors import APIResponseError
from tinkex.types import Checkpoint, SamplerInfo, SessionInfo, TrainingRun, WeightsInfo

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TIMES = st.datetimes(timezones=st.just(UTC)) | st.none()
TEXTS = st.text(min_size=1) | st.none()
COUNTS = st.integers(0, 2**53) | st.none()
CHECKPOINTS = st.builds(
    Checkpoint, tinker_path=st.text(min_size=1), checkpoint_id=st.text(min_size=1), checkpoint_type=TEXTS, time=TIMES,
    size_bytes=COUNTS, public=st.booleans(), expires_at=TIMES, user_metadata=st.dictionaries(st.text(), st.integers()),
)  # fmt: skip
RUNS = st.builds(
    TrainingRun, training_run_id=st.text(min_size=1), base_model=TEXTS, model_owner=TEXTS,
    is_lora=st.booleans() | st.none(), lora_rank=COUNTS, corrupted=st.booleans(), last_request_time=TIMES,
    last_checkpoint=CHECKPOINTS | st.none(), last_sampler_checkpoint=CHECKPOINTS | st.none(),
    user_metadata=st.dictionaries(st.text(), st.text()),
)  # fmt: skip


@given(CHECKPOINTS)
def test_checkpoint_round_trip(checkpoint):
    """What a server writes of a checkpoint is read back as it was."""
    assert records.checkpoint_entry(plain(checkpoint)) == checkpoint


@given(RUNS)
def test_run_round_trip(run):
    """What a server writes of a training run, its last checkpoints included, is read back as it was."""
    assert records.training_run_entry(plain(run)) == run


FIELDS = sorted(
    name for kind in (Checkpoint, TrainingRun, SessionInfo, SamplerInfo, WeightsInfo) for name in kind.__slots__
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "cursor"]), JSON) | JSON)
def test_garbage(answer):
    """Whatever a server sends, it is read, left out, or refused with an error of ours; what is read can be hashed."""
    for entry in (records.checkpoint_entry, records.training_run_entry):
        hash(entry(answer))
    if isinstance(answer, dict):
        hash(records.decode_training_run(answer, "r"))
        hash(records.decode_session(answer, "s"))
        hash(records.decode_sampler(answer, "s"))
        hash(records.decode_weights_info(answer))
        for name in ("checkpoints", "cursor", "user_metadata"):
            with suppress(APIResponseError):
                records.decode_page(answer, name, records.checkpoint_entry)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-01-05T09:30:00Z", datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("2026-01-05T09:30:00", datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("2026-01-05T09:30:00+02:00", datetime(2026, 1, 5, 9, 30, tzinfo=timezone(timedelta(hours=2)))),
        (1_767_605_400, datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        (1_767_605_400_000, datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("yesterday", None),
        (True, None),
        (1e300, None),
        (float("nan"), None),
    ],
)
def test_times(value, time):
    """A time is ISO 8601, or seconds or milliseconds since 1970; anything else counts as unsaid."""
    assert records.checkpoint_entry({"tinker_path": "p", "time": value}).time == time


def test_page():
    """A page has what can be read, the count of what was sent, and the total where the cursor holds one."""
    page = records.decode_page({"sessions": ["a", 7, "b"], "cursor": {"total_count": 9}}, "sessions", records.text)
    assert (page.items, page.count, page.total) == (("a", "b"), 3, 9)
    assert records.decode_page({"sessions": [], "cursor": None}, "sessions", records.text).total is None
    with pytest.raises(APIResponseError, match="training runs"):
        records.decode_page({}, "training_runs", records.text)


def test_an_id_follows_from_the_path():
    """A checkpoint without an id has the last two parts of its path as one."""
    assert records.checkpoint_entry({"tinker_path": "tinker://r/weights/7"}).checkpoint_id == "weights/7"
