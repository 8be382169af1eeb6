import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.convnets import SIDE, convnet, layer_of
from viz.canvas import cut_canvas, whole_canvas
from viz.inputs.facets import cluster, crop_at_peak, penultimate


def test_the_penultimate_features_go_into_the_last_linear_layer():
    network = convnet()
    pictures = torch.randint(0, 256, (11, 3, SIDE, SIDE), dtype=torch.uint8)
    found = penultimate(network, pictures)
    assert found.shape == (11, 16)
    with torch.no_grad():
        expected = network.module(network.normalise(pictures))
        assert torch.allclose(network.module.head(found), expected, atol=1e-5)
    assert not network.module.head._forward_pre_hooks


def test_clusters_that_lie_apart_are_found_largest_first():
    generator = torch.Generator().manual_seed(0)
    centres = 50 * torch.randn(3, 8, generator=generator)
    labels = [0] * 4 + [1] * 9 + [2] * 6
    features = centres[labels] + torch.randn(19, 8, generator=generator)
    groups = cluster(features, 3, 15, 50, torch.Generator().manual_seed(1))
    assert [sorted(group) for group in groups] == [
        list(range(4, 13)),
        list(range(13, 19)),
        list(range(4)),
    ]
    nearest = cluster(features, 3, 2, 50, torch.Generator().manual_seed(1))
    assert [group[:2] for group in groups] == nearest


def test_there_are_as_many_clusters_as_images_at_most_and_copies_do_no_harm():
    features = torch.ones(3, 4)
    features[2] = 5
    groups = cluster(features, 4, 15, 50, torch.Generator().manual_seed(0))
    assert sorted(image for group in groups for image in group) == [0, 1, 2]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=24),
    st.integers(1, 6),
    st.integers(0, 99),
)
def test_no_cluster_stays_empty_while_there_are_different_images(points, clusters, seed):
    features = torch.tensor(points, dtype=torch.float32)
    groups = cluster(features, clusters, 24, 50, torch.Generator().manual_seed(seed))
    assert len(groups) == min(clusters, len(set(points)))
    assert sorted(image for group in groups for image in group) == list(range(len(points)))


def test_an_image_is_laid_with_its_peak_at_the_target():
    layer = layer_of(convnet(), "late")
    canvas = cut_canvas(layer, 5, 5, SIDE, SIDE).with_margin(2)
    picture = torch.zeros(1, SIDE, SIDE)
    seen = layer.box(7, 3)
    picture[0, int(seen.top), int(seen.left)] = 9
    laid = crop_at_peak(picture, layer, (7, 3), (5, 5), canvas)
    assert laid.shape[1:] == canvas.size
    box = canvas.box_in(*canvas.size)
    assert laid[0, int(box.top), int(box.left)] == 9


def test_beyond_the_border_an_image_goes_on():
    layer = layer_of(convnet(), "late")
    picture = torch.arange(float(SIDE)).repeat(1, SIDE, 1)
    laid = crop_at_peak(picture, layer, (5, 0), (5, 5), whole_canvas(SIDE, SIDE))
    assert laid[0, 0, :20].eq(0).all()
    assert laid[0, 0, 21] == 1
