"""What is noted during an ascent."""

from __future__ import annotations

import torch

from viz.ascent.history import History


def test_an_image_is_finished_when_its_smoothed_score_has_not_risen_for_patience_steps():
    history = History(2, patience=3)
    dropped = []
    for step in range(14):
        scores = [1.0, float(step)][: len(history.active)] if step < 11 else [float(step)]
        pictures = torch.full((len(history.active), 1, 2, 2), float(step))
        history.add(torch.tensor(scores), pictures)
        if history.drop_finished(lambda place, now=pictures: now[place]) is not None:
            dropped.append(step)
    result = history.finish(pictures)
    assert dropped == [10]
    assert [len(trace) for trace in result.traces] == [11, 14]
    assert [float(picture.mean()) for picture in result.pictures] == [10, 13]
    assert [float(picture.mean()) for picture in result.best] == [0, 13]
