"""Prior knowledge of one's own: what is taken for it, and that a run keeps what it was begun with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytune_infer import Study
from raytune_infer.errors import RunError, UserError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.prior import COPY, kept_prior, read_prior
from raytune_infer.store.run_folder import RunFolder, open_run
from searchers.base import History, Problem
from searchers.morphling.morphling import PRETRAINED as MORPHLINGS
from searchers.objective import Expression, Objective
from searchers.registry import NAMED, TAKES_SURFACES, named
from searchers.space import Knob, Space
from searchers.surfaces.belief import pretrained
from tests.raytune_infer.study.stop_after import StopAfter
from tests.raytune_infer.study.whole_studies import study as whole_study
from tests.raytune_infer.study.whole_studies import without_ray

SPEC = """\
name: fake
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2], max_batch_size: [1, 4, 16]}
objective: {maximize: rps}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my own.safetensors"
    card = {"data": "our own services", "date": "2026-01-31"}
    replace(pretrained(), card=card).save(path)
    return path


def study(out: Path, **options) -> Study:
    return Study(parse_spec(Document(SPEC, "fake.yaml"), folder=Path(".")), out=out, **options)


def test_what_is_no_prior_is_refused_before_anything_starts(tmp_path, file):
    text = tmp_path / "text.safetensors"
    text.write_text("name: fake")
    for path, said in (
        (tmp_path / "nowhere", "cannot read the prior .*nowhere: No such file"),
        (tmp_path, "cannot read the prior .*: Is a directory"),
        (text, "is not a surfaces file .*meta-train"),
        (MORPHLINGS, "is not a surfaces file .*does not say.*meta-train"),
    ):
        with pytest.raises(UserError, match=said):
            study(tmp_path / "run", prior=path)
    with pytest.raises(UserError, match="not used by random; search with meta, or leave --prior out"):
        study(tmp_path / "run", prior=file, searcher="random")
    assert read_prior(file, "random", "meta") and not (tmp_path / "run").exists()


def test_a_run_keeps_its_prior_wherever_the_file_goes(tmp_path, file):
    (folder := tmp_path / "run").mkdir()
    given = read_prior(file)
    given.kept(RunFolder(folder, None, 1)).save()
    file.unlink()
    kept = kept_prior(open_run(folder))
    assert kept is not None and kept.label == given.label and kept.label.startswith("my own.safetensors ")
    assert kept.note() == f"prior knowledge is {given.label}: our own services, 2026-01-31"
    pretrained().save(folder / COPY)
    with pytest.raises(RunError, match="not the prior of this run, my own.safetensors"):
        kept_prior(open_run(folder))
    (folder / COPY).unlink()
    with pytest.raises(UserError, match="cannot read the prior"):
        kept_prior(open_run(folder))


def test_a_run_without_one_starts_from_what_ships(tmp_path):
    (tmp_path / "run.json").write_text('{"database": null, "study": 1}')  # as before there was such a choice
    assert kept_prior(open_run(tmp_path)) is None


def test_a_resumed_run_takes_no_other_prior(tmp_path, file, url):
    database = RunFolder(tmp_path, url, 0).database()
    begun = database.create_study(
        name="fake", spec=SPEC, folder="/", searcher="meta", seed=0, trials=4, fingerprint={}, emulated=None
    )
    database.close()
    RunFolder(tmp_path, url, begun.id).save()
    with pytest.raises(
        RunError, match="with prior: the shipped one, not my own.safetensors .*; to resume, leave prior out"
    ):
        study(tmp_path, prior=file, db=url).run(resume=True)


def test_a_search_starts_from_it_and_so_does_its_continuation(tmp_path, file, url, monkeypatch):
    without_ray(monkeypatch)
    taken = []

    def spied(name, surfaces=None):
        taken.append(None if surfaces is None else surfaces.card["data"])
        return named("random")

    def begin(name: str, **options: Any) -> Study:
        return whole_study(tmp_path / name, searcher="meta", **options)

    with pytest.raises(KeyboardInterrupt):
        begin("own", prior=file, db=url).run(progress=StopAfter(2))
    monkeypatch.setattr("raytune_infer.study.study.named", spied)
    file.unlink()
    begin("own", db=url).run(resume=True)
    begin("shipped", db=url).run()
    assert [card for card in taken if card] == ["our own services"] and None in taken


def test_a_searcher_starts_from_the_surfaces_it_is_given():
    assert TAKES_SURFACES <= set(NAMED)
    problem = Problem(Space([Knob("max_batch_size", (1, 4, 16, 64))]), Objective(Expression("rps")))
    known: Any = named("meta", pretrained())(problem)
    unknown: Any = named("meta", replace(pretrained(), inputs=replace(pretrained().inputs, columns=_others())))(problem)
    shipped: Any = named("meta")(problem)
    drawn = [searcher.drawn(History())["rps"] for searcher in (shipped, known, unknown)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="'random' cannot start from a surface model; these can: meta"):
        named("random", pretrained())


def _others() -> tuple[str, ...]:
    return tuple(f"not {column}" for column in pretrained().inputs.columns)
