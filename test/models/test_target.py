"""The lean passes give the numbers of the class they stand for; checkpoints refuse kindly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rsd_planner.models.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.models.packed_linear import _Group, pack_linears
from rsd_planner.models.presets import TINY, write_random_checkpoint
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.models.vision_cache import VisionCache
from rsd_planner.models.vla import run_text_stack
from rsd_planner.types import Draft, Frame, Prompt, SpanSource


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_random_checkpoint(tmp_path_factory.mktemp("tiny"), seed=1))


def images(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, 32, 64, 3), dtype=np.uint8)


@torch.inference_mode()
def test_lean_text_stack_is_the_class_own_forward(tiny: Checkpoint) -> None:
    text = tiny.vla.text
    embeds = torch.randn(2, 11, TINY.hidden)
    positions = torch.randint(0, 9, (3, 2, 11))
    where = torch.zeros(2, 11, dtype=torch.bool)
    where[:, 2:6] = True
    deep = [torch.randn(8, TINY.hidden)]
    expected = text(
        inputs_embeds=embeds,
        position_ids=positions,
        visual_pos_masks=where,
        deepstack_visual_embeds=deep,
    ).last_hidden_state
    ours = run_text_stack(text, embeds, positions, visual=(where, deep))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_batched_tower_is_the_class_own_tower(tiny: Checkpoint) -> None:
    pictures = images(3)
    batch = tiny.image_processor(images=list(pictures), return_tensors="pt")
    model = tiny.vla.vlm.model
    expected = model.get_image_features(batch["pixel_values"], batch["image_grid_thw"])
    _, merged, deep = BatchedTower(model.visual, 32, 64)(torch.from_numpy(pictures))
    for i in range(3):
        torch.testing.assert_close(merged[i], expected.pooler_output[i], rtol=0, atol=1e-5)
        torch.testing.assert_close(deep[0][i], expected.deepstack_features[0][i], rtol=0, atol=1e-5)


def test_positions_are_the_class_own(tiny: Checkpoint) -> None:
    is_image = np.array([0, 0, *[1] * 2, 0, *[1] * 2, 0, 0], dtype=bool)
    grid = torch.tensor([[1, 2, 4], [1, 2, 4]])
    ids = torch.zeros(1, len(is_image), dtype=torch.long)
    expected, delta = tiny.vla.vlm.model.get_rope_index(
        ids, torch.from_numpy(is_image)[None].int(), image_grid_thw=grid
    )
    ours = mrope_positions(is_image, [(1, 2, 4), (1, 2, 4)], merge=2)
    assert ours.tolist() == expected[:, 0].tolist()
    assert ours.max() + 1 - len(is_image) == int(delta)


def test_a_frame_is_encoded_once_and_alone(tiny: Checkpoint) -> None:
    target = VlaTarget(tiny.vla, tiny.image_processor)
    frames = [Frame("front", i, image) for i, image in enumerate(images(3))]
    together = target.encode(tuple(frames))
    assert target.encode((frames[1],))[0] is together[1]
    alone = VlaTarget(tiny.vla, tiny.image_processor).encode((frames[1],))[0]
    assert torch.equal(alone.embeddings, together[1].embeddings)
    changed = Frame("front", 1, frames[2].image)
    assert target.encode((changed,))[0] is not together[1]


def test_the_newest_frames_are_not_looked_at_twice(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = VlaTarget(tiny.vla, tiny.image_processor)
    frames = tuple(Frame("front", i, image) for i, image in enumerate(images(2)))
    looked = []
    key = VisionCache.key
    noting = staticmethod(lambda frame: (looked.append(frame), key(frame))[1])
    monkeypatch.setattr(VisionCache, "key", noting)
    first = target.encode(frames)
    assert target.encode(frames) is first and len(looked) == 2
    again = target.encode((frames[0], frames[1]))
    assert len(looked) == 4 and again[0] is first[0]
    target.forget_pictures()
    assert target.encode(frames)[0] is not first[0]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return write_random_checkpoint(tmp_path / "model")


def edit(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(folder)
    return str(refusal.value)


def test_missing_weights_name_the_remedy(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "copy the checkpoint's weights" in refused(folder)


def test_truncated_weights_are_damaged(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "damaged" in refused(folder)


def test_unknown_class_is_refused_by_name(folder: Path) -> None:
    edit(folder, diffusion_cfg={"_target_": "os.system"})
    assert "os.system" in refused(folder)


def test_unknown_family_is_refused(folder: Path) -> None:
    edit(folder, model_type="gpt")
    assert "alpamayo_r1" in refused(folder)


def test_path_outside_of_the_folder_is_refused(folder: Path) -> None:
    edit(folder, vlm_name_or_path="../elsewhere")
    assert "leaves the checkpoint's folder" in refused(folder)


def test_wider_kv_heads_in_the_expert_are_refused(folder: Path) -> None:
    edit(folder, expert_cfg={"num_key_value_heads": 8})
    with pytest.raises(ValueError, match="leave it out of expert_cfg"):
        load_checkpoint(folder)


def drafted(count: int, parents: tuple[int, ...] = ()) -> Draft:
    return Draft(tuple(range(5, 5 + count)), (SpanSource.ROUTINE,) * count, parents)


def a_prompt(tiny: Checkpoint) -> Prompt:
    """Some words around a picture."""
    ids = [7, 8, *[tiny.vla.vlm.config.image_token_id] * 2, 9, 10, 11]
    return Prompt(np.array(ids), (Frame("front", 1, images(1)[0]),))


DRAFTS = [drafted(0), drafted(1), drafted(6), drafted(9), drafted(5, (-1, 0, 0, 1, -1))]


@pytest.mark.parametrize("draft", DRAFTS, ids=[f"{len(one)}" for one in DRAFTS])
def test_rows_that_nobody_sees_change_no_number(
    tiny: Checkpoint, draft: Draft, tmp_path: Path
) -> None:
    packed = load_checkpoint(write_random_checkpoint(tmp_path, seed=1))
    pack_linears(packed.vla)
    ours, plain = (VlaTarget(one.vla, one.image_processor) for one in (packed, tiny))
    path = (0, 2) if draft.parents else tuple(range(len(draft)))
    for target in (ours, plain):
        target.watch((0, 1))
    found = []
    for target in (ours, plain):
        first = target.prefill(a_prompt(tiny), draft)
        assert first.logits.shape[0] == len(draft) + 1
        cached = target.cached_tokens
        target.keep(path)
        states, places = first.features.rows(0)
        second = target.verify(3, drafted(2))
        found.append((first.logits, states, torch.from_numpy(places), second.logits, cached))
    for mine, theirs in zip(*found):
        if isinstance(mine, int):
            assert mine == theirs == len(a_prompt(tiny).token_ids) + len(draft)
        else:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_a_warm_target_makes_no_kernels_for_a_draft_of_a_new_length(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each number of rows has kernels of its own."""
    packed = load_checkpoint(write_random_checkpoint(tmp_path, seed=1))
    pack_linears(packed.vla)
    target, seen = VlaTarget(packed.vla, packed.image_processor), set()
    multiply = _Group.multiply

    def counted(self: _Group, rows: torch.Tensor) -> torch.Tensor:
        seen.add((id(self), rows.shape[-2]))
        return multiply(self, rows)

    monkeypatch.setattr(_Group, "multiply", counted)
    target.prefill(a_prompt(tiny), drafted(0))
    target.keep(())
    target.verify(3, drafted(0))
    target.warm_up(20)
    warm = {rows for _, rows in seen}
    seen.clear()
    for count in range(1, 21):
        target.prefill(a_prompt(tiny), drafted(count))
        target.keep(())
        target.verify(3, drafted(count))
    assert {rows for _, rows in seen} <= warm
    assert len({rows for _, rows in seen if rows > 21}) <= 2
