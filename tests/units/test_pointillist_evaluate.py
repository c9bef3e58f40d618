"""The held-out table: baselines with known answers, paired differences, a generator that knows the truth, pictures."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.methods.pointillist import baselines, checkpoint, evaluate_cli, images, training_set
from avatarbench.methods.pointillist.checkpoint import Loaded
from avatarbench.methods.pointillist.config import Config, Generate, Grammar, PointTokens, Transformer, Window
from avatarbench.methods.pointillist.engine import Engine, Generated
from avatarbench.methods.pointillist.evaluate import Engines, Evaluation, evaluate
from avatarbench.methods.pointillist.evaluate_records import Judged, Kept
from avatarbench.methods.pointillist.evaluate_table import grids, markdown
from avatarbench.methods.pointillist.images import ImageEncoder
from avatarbench.methods.pointillist.paired import difference
from avatarbench.methods.pointillist.pictures import Row, dots, face_colours, sheet
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Points, Tokenizer, Vocabulary
from avatarbench.methods.pointillist.training_set import Portrait, TrainingSet

LEVELS = 256
OCTAHEDRON = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * 0.1
FACES = torch.tensor([[4, 0, 2], [4, 2, 1], [4, 1, 3], [4, 3, 0], [5, 2, 0], [5, 1, 2], [5, 3, 1], [5, 0, 3]])
CONFIG = Config(
    preset="tiny",
    rig="anny",
    levels=LEVELS,
    faces=len(FACES),
    points=PointTokens(samples=64, latents=4, width=16, depth=1, heads=2, bands=2),
    transformer=Transformer(width=32, depth=1, heads=2, head_width=32, slots=True),
    window=Window(length=32, step=16),
    grammar=Grammar(training=False),
    generate=Generate(points=20),
)
TOKENIZER = Tokenizer(Vocabulary(LEVELS, len(FACES)), Cube((-0.2, -0.2, -0.2), 0.4))


class Encoder(NamedTuple):
    """Two tokens of what a picture's colour is."""

    count: int = 2
    width: int = 3
    fingerprint: str = "colour"

    def tokens(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 2))[:, None].repeat(1, 2, 1) / 255


@dataclass(frozen=True)
class People:
    """Heads of several sizes: points scattered about a mesh of that size, and a portrait of one colour."""

    sizes: dict[str, float]
    root: Path = Path("set")
    tokenizer: Tokenizer = TOKENIZER
    faces: Tensor = FACES
    digest: str = "digest"

    def marks(self, person: str) -> dict[str, str]:
        return {"cloud": f"{person} of size {self.sizes[person]}"}

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    @cached_property
    def clouds(self) -> dict[str, Points]:
        found = {}
        for number, (person, size) in enumerate(self.sizes.items()):
            draw = torch.Generator().manual_seed(number)
            bound = torch.randint(len(FACES), (15 + number,), generator=draw)
            places = (OCTAHEDRON * size)[FACES[bound]].mean(1)
            found[person] = Points(places + 0.002 * torch.randn(places.shape, generator=draw), bound)
        return found

    def cloud(self, person: str) -> Points:
        return self.clouds[person]

    def rest(self, person: str) -> Tensor:
        return OCTAHEDRON * self.sizes[person]

    def portraits(self, person: str) -> tuple[Portrait, ...]:
        size = self.sizes[person]
        colour = np.array([100 * size, 100, 200 - 100 * size])
        image = np.broadcast_to(colour, (40, 40, 3)).astype(np.uint8)
        return (Portrait(image, OCTAHEDRON * size),)


TRAINING = People({"001": 1.0, "002": 0.9, "003": 0.5})
HELD = People({"501": 0.55, "502": 0.95})


def _loaded(config: Config = CONFIG, **extra: Any) -> Loaded:
    torch.manual_seed(0)
    return Loaded(StageOne(config, (2, 3)).eval(), config, TOKENIZER, (2, 3), "f" * 64, {"steps": 7, **extra})


def _grammar(**rules: bool) -> Config:
    return CONFIG.model_copy(update={"grammar": Grammar(**rules)})


def _evaluate(
    held: People = HELD,
    seeds: tuple[int, ...] = (0, 1),
    loaded: Loaded | None = None,
    training: People = TRAINING,
    watch: Any = lambda *_: None,
    sampling: Generate = CONFIG.generate,
    **options: Any,
) -> Evaluation:
    encoder = cast(ImageEncoder, Encoder())
    sets = (cast(TrainingSet, training), cast(TrainingSet, held))
    return evaluate(loaded or _loaded(), encoder, *sets, sampling, seeds, watch, **options)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return _evaluate()


class Knowing(Engine):
    """Generates the truth: the person is told by the order of the calls."""

    def __init__(self) -> None:
        self._left = [TOKENIZER.encode(*HELD.cloud(person)).tokens for person in HELD.people for _ in range(2)]

    def generate(
        self, context: Tensor, options: Generate, seeds: Any, watch: Any = None, states: Any = True
    ) -> list[Generated]:
        tokens = [self._left.pop(0) for _ in seeds]
        return [Generated(one, torch.zeros(len(one) - 8, 32), "ended", 0.1) for one in tokens]


def test_the_medoid_is_the_cloud_that_is_nearest_to_all_others() -> None:
    line = [torch.tensor([[x, 0.0, 0.0]]) for x in (5.0, 1.0, 0.0, 2.0)]
    assert baselines.medoid(line) == 1  # 4 + 1 + 1, where 2.0 has 3 + 1 + 2
    assert baselines.medoid([line[0]]) == 0
    with pytest.raises(DataError):
        baselines.medoid([])


def test_the_nearest_subject_is_told_by_angle_and_not_by_length() -> None:
    features = torch.tensor([[10.0, 1.0], [0.1, 0.1], [0.0, 3.0]])
    assert baselines.nearest(torch.tensor([1.0, 1.1]), features) == 1
    assert baselines.nearest(torch.tensor([0.01, 0.5]), features) == 2


def test_every_baseline_is_measured_to_the_true_cloud() -> None:
    known = baselines.reference(cast(TrainingSet, TRAINING), cast(ImageEncoder, Encoder()))
    true, mesh = HELD.cloud("501").positions, (OCTAHEDRON * 0.55, FACES)
    feature = baselines.pooled(cast(ImageEncoder, Encoder()), HELD.portraits("501")[0].image)
    found = baselines.distances(known, true, feature, mesh, TOKENIZER, 12)
    assert known.people[known.medoid] == "002"
    assert found.chosen == "003"  # the nearest in colour, which is the nearest in size here
    assert found.best == found.nearest < found.mean < found.medoid + found.nearest
    assert found.tokens <= math.sqrt(3) * 0.4 / LEVELS / 2
    assert found.surface > found.tokens
    assert found.surface_true > found.tokens
    other = baselines.distances(known, true, feature, mesh, TOKENIZER, 5)
    assert other.surface != found.surface
    assert other._replace(surface=0.0) == found._replace(surface=0.0), "only that surface goes by the number generated"


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    found = difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert found == (-1.0, -1.0, -1.0, 3, 3)


def test_an_interval_holds_its_mean_is_repeatable_and_needs_two_people() -> None:
    ours, theirs = [1.0, 4.0, 2.0, 8.0], [2.0, 3.0, 5.0, 5.0]
    found = difference(ours, theirs)
    assert found.low < found.mean < found.high
    assert found == difference(ours, theirs)
    assert (found.better, found.people) == (2, 4)
    assert math.isnan(difference([1.0], [2.0]).low)
    assert difference([1.0], [2.0]).mean == -1.0


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0, 2.0]), ([], []), ([math.nan], [1.0])])
def test_values_that_are_no_pairs_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(DataError):
        difference(ours, theirs)


def test_clouds_are_valid_where_the_grammar_masks_and_each_seed_has_its_own(found: Evaluation) -> None:
    for one in found.people:
        assert [drawn.seed for drawn in one.drawn] == [0, 1]
        assert all(drawn.fault is None for drawn in one.drawn)
        assert all(0 < drawn.points <= 20 for drawn in one.drawn)
        assert one.unmasked is not None
        assert any(one.unmasked), "an untrained model keeps to no grammar by itself"
        assert one.drawn[0].chamfer != one.drawn[1].chamfer


def test_a_persons_figures_depend_on_no_other_person_and_on_no_other_seed(found: Evaluation) -> None:
    alone = _evaluate(people=["502"], seeds=(1,), unmasked=False).people[0]
    drawn = found.people[1].drawn[1]
    same = [field for field in vars(drawn) if field != "seconds"]
    assert {key: getattr(alone.drawn[0], key) for key in same} == {key: getattr(drawn, key) for key in same}
    assert alone.baselines.medoid == found.people[1].baselines.medoid
    assert alone.unmasked is None


def test_a_generator_that_knows_the_truth_reaches_the_tokens_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engines, "of", lambda loaded, unmasked: Engines(Knowing(), None))
    found = _evaluate(again=cast(TrainingSet, HELD))
    for one in found.people:
        for drawn in one.drawn:
            assert drawn.chamfer == pytest.approx(one.baselines.tokens, rel=1e-6)
            assert (drawn.points, drawn.count_error, drawn.reason) == (one.points, 0.0, "ended")
            assert (drawn.precision, drawn.recall) == (1.0, 1.0)
        assert one.again == 0.0
    assert all(one.better == 2 and one.high < 0 for one in found.differences().values())
    people, against, _ = grids(found)
    assert [line.entries[4].mark for line in people.lines] == ["best"] * 3
    assert [line.label.text for line in against.lines][-1] == "another fit of the same person"


def test_the_tables_have_every_person_and_baseline_and_the_record_is_json(found: Evaluation) -> None:
    text = markdown(found, ["About."])
    for name in ("501", "502", "training medoid", "nearest training subject", "tracked head", "tokenizer", "binding"):
        assert name in text
    record = json.loads(json.dumps(evaluate_cli.plain(found.to_json()), allow_nan=False))
    assert record["people"]["501"]["baselines"]["chosen"] == "003"
    assert len(record["people"]["502"]["drawn"]) == 2
    assert set(record["differences"]) == {"medoid", "nearest", "surface", "surface_true", "mean", "best"}


def test_sets_that_do_not_belong_together_are_refused() -> None:
    other = Tokenizer(Vocabulary(LEVELS, 9), TOKENIZER.cube)
    for held, options, message in (
        (People({"001": 1.0}), {}, "in the training set too"),
        (People({"501": 1.0}, tokenizer=other), {}, "sets of one rig"),
        (People({"501": 1.0}, faces=FACES.flip(0)), {}, "sets of one rig"),
        (HELD, {"people": ["777"]}, "has no 777"),
        (HELD, {"seeds": (1, 1)}, "all different"),
        (HELD, {"again": TRAINING}, "has no 501, 502"),
    ):
        with pytest.raises(UsageError, match=message):
            _evaluate(held, **cast(Any, options))


@pytest.mark.parametrize("text", ["", "a", "1,1", "-1", "1,,2", "0,9223372036854775808"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        evaluate_cli._seeds(text)


def test_the_training_set_is_the_one_that_the_checkpoint_was_trained_on() -> None:
    assert _evaluate(seeds=(0,), people=["501"], loaded=_loaded(data="digest")).people
    with pytest.raises(UsageError, match="trained on another set"):
        _evaluate(loaded=_loaded(data="another"))
    moved = Tokenizer(TOKENIZER.vocabulary, Cube((-0.3, -0.2, -0.2), 0.4))
    with pytest.raises(UsageError, match="has the cube"):
        _evaluate(training=People(TRAINING.sizes, tokenizer=moved))


def test_draws_without_masks_are_left_out_where_training_masked() -> None:
    found = _evaluate(seeds=(0,), loaded=_loaded(_grammar(training=True)))
    assert [one.unmasked for one in found.people] == [None, None]
    assert "masked in training" in markdown(found, [])


def test_a_sequence_that_is_no_cloud_is_counted_and_measured_no_further(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = torch.tensor([TOKENIZER.vocabulary.start] * 4 + [0, 1] + [TOKENIZER.vocabulary.end] * 4)

    class Sometimes(Knowing):
        def generate(self, *arguments: Any) -> list[Generated]:
            made = super().generate(*arguments)
            return [one._replace(tokens=broken) if n != 0 else one for n, one in enumerate(made)]

    monkeypatch.setattr(Engines, "of", lambda loaded, unmasked: Engines(Sometimes(), None))
    kept = Kept(tmp_path, {})
    found = _evaluate(kept=kept)
    first, second = found.people
    assert [one.fault is None for one in first.drawn] == [True, False]
    assert first.mean("chamfer") == first.drawn[0].chamfer
    assert not second.valid
    assert math.isnan(second.mean("chamfer"))
    assert found.differences()["medoid"].people == 1
    text = markdown(found, [])
    assert "1/2" in text
    assert "0/2" in text
    assert "nan" not in text
    json.dumps(evaluate_cli.plain(found.to_json()), allow_nan=False)
    sheet(found.shown, FACES, "y", tmp_path / "sheet.png")
    kept_one = kept.read("502")
    assert kept_one is not None
    assert math.isnan(kept_one.person.drawn[0].chamfer)


def test_draws_that_are_left_out_of_a_consensus_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Evaluation
) -> None:
    tokens = TOKENIZER.encode(*HELD.cloud("501")).tokens

    class Endless(Knowing):
        """Whose first draw of a seed never ends."""

        def generate(self, context: Tensor, options: Generate, seeds: Any, *_: Any) -> list[Generated]:
            return [Generated(tokens, torch.zeros(0, 32), "bound" if seed == 0 else "ended", 0.1) for seed in seeds]

    monkeypatch.setattr(Engines, "of", lambda loaded, unmasked: Engines(Endless(), None))
    kept = Kept(tmp_path, {})
    made = _evaluate(seeds=(0,), sampling=Generate(points=20, consensus=4), kept=kept)
    for one in made.people:
        (drawn,) = one.drawn
        assert (drawn.reason, drawn.fault, drawn.left_out, drawn.points) == ("ended", None, 1, 15)
    text = markdown(made, [])
    assert "2/2 (2 draws left out)" in text
    assert "Left out: draws of a consensus" in text
    assert "draws" not in markdown(found, []).split("## Baselines")[0]
    again = kept.read("501")
    assert again is not None
    assert again.person == made.people[0]


def test_wholly_unmasked_sampling_is_judged_all_the_same() -> None:
    found = _evaluate(loaded=_loaded(_grammar(training=False, sampling=False)), unmasked=False)
    assert not any(one.valid for one in found.people)
    assert found.differences() == {}
    assert "nan" not in markdown(found, [])


def test_who_was_measured_before_an_interruption_is_not_measured_again(tmp_path: Path, found: Evaluation) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "people" and done == 1:
            raise KeyboardInterrupt

    kept = Kept(tmp_path, {"seeds": [0, 1]})
    with pytest.raises(KeyboardInterrupt):
        _evaluate(kept=kept, watch=stop)
    assert [kept.path(person).is_file() for person in HELD.people] == [True, False]
    assert Kept(tmp_path, {"seeds": [0]}).read("501") is None
    first = kept.read("501")
    seen: list[tuple[str, int, int]] = []
    again = _evaluate(kept=kept, watch=lambda *told: seen.append(told))
    assert first is not None
    assert again.people[0] == first.person
    assert ("people", 1, 2) in seen
    assert ("people", 0, 2) not in seen
    for key in ("chamfer", "points", "exact"):
        assert [p.mean(key) for p in again.people] == [p.mean(key) for p in found.people]
    assert again.teacher == found.teacher
    assert torch.equal(again.shown[0].generated.positions, found.shown[0].generated.positions)
    kept.clear(HELD.people)
    assert not kept.folder.exists()


def test_all_people_are_drawn_in_as_few_batches_as_the_engine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    generate = Engine.generate

    def counted(self: Engine, context: Tensor, *arguments: Any) -> list[Generated]:
        sizes.append(len(context))
        return generate(self, context, *arguments)

    monkeypatch.setattr(Engine, "generate", counted)
    _evaluate(seeds=(0, 1, 2, 3, 4), unmasked=False)
    assert sizes == [8, 2]


def test_the_command_writes_its_tables_and_says_what_an_interruption_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Named(Encoder):
        fingerprint = "encoder"

    write, written = Kept.write, []

    def once(self: Kept, judged: Judged) -> None:
        write(self, judged)
        written.append(judged.person.person)
        if len(written) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Kept, "write", once)
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda *_: _loaded())
    monkeypatch.setattr(images, "load_encoder", lambda *_: Named())
    monkeypatch.setattr(training_set, "TrainingSet", lambda root: {"set": TRAINING, "held": HELD}[str(root)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    out = tmp_path / "found"

    def run() -> None:
        evaluate_cli.evaluate(Path("set"), Path("held"), Path("ar"), out, seeds="0", device="cpu", consensus=2)

    with pytest.raises(typer.Exit) as stopped:
        run()
    said = capsys.readouterr().err
    assert stopped.value.exit_code == 130
    assert "501: measured and kept in" in said
    assert "does not say what it was trained on" in said
    run()
    assert written == ["501", "502"], "501 is not measured again"
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "pictures.png", "table.md"]
    assert "consensus of 2" in (out / "table.md").read_text(encoding="utf-8")
    assert json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["sampling"]["consensus"] == 2
    with pytest.raises(UsageError, match="nothing can be written"):
        evaluate_cli.evaluate(Path("set"), Path("held"), Path("ar"), out / "table.md" / "below")


def test_neighbouring_faces_have_like_colours_whatever_the_head() -> None:
    steps = 40
    angle = torch.linspace(0, 2 * torch.pi, steps + 1)[:-1]
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros(steps)], 1)
    vertices = torch.cat([ring, ring + torch.tensor([0.0, 0.0, 1.0])])
    at = torch.arange(steps)
    faces = torch.stack([at, (at + 1) % steps, at + steps], 1)
    colours = face_colours(vertices, faces)
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1
    beside = (colours - colours.roll(1, 0)).norm(dim=1).max()
    across = (colours - colours.roll(steps // 2, 0)).norm(dim=1).max()
    assert beside < 0.25 * across
    assert torch.allclose(face_colours(vertices * 0.1 + 3, faces), colours, atol=1e-4)


def test_dots_can_be_rendered_and_keep_their_bindings() -> None:
    points = HELD.cloud("501")
    cloud = dots(points, face_colours(OCTAHEDRON, FACES)).check(len(FACES))
    assert torch.equal(cloud.means, points.positions)
    assert cloud.bindings is not None
    assert torch.equal(cloud.bindings, points.bindings)
    assert len(dots(Points(torch.zeros(1, 3), torch.tensor([0])), torch.zeros(8, 3)).check()) == 1


def test_a_sheet_has_a_line_a_person_and_the_same_rows_give_the_same_pixels(tmp_path: Path) -> None:
    points, portrait = HELD.cloud("501"), HELD.portraits("501")[0]
    row = Row("501", portrait.image, points, points, portrait.vertices)
    for name, rows in (("a.png", [row]), ("b.png", [row]), ("two.jpg", [row, row])):
        sheet(rows, FACES, "y", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "two.jpg") as two:
        assert two.size == (one.width, 2 * one.height)
    with pytest.raises(UsageError, match=r"\.png or \.jpg"):
        sheet([row], FACES, "y", tmp_path / "a.gif")
    with pytest.raises(UsageError, match="at least one person"):
        sheet([], FACES, "y", tmp_path / "c.png")
