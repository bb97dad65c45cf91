import numpy as np
import pytest
import torch

from geounet.model.bundle import DEFAULT_MODEL, ModelBundle, load_bundle
from geounet.model.networks import build_network
from geounet.train.samples import standardise
from geounet.train.town import make_town


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle(DEFAULT_MODEL)


def test_facts_of_the_shipped_model(bundle: ModelBundle) -> None:
    spec = bundle.spec
    assert len(bundle.weights) < 25e6
    assert spec.legend.names == ("land", "building", "water", "vegetation", "road")
    assert (spec.bands, spec.stride, spec.exact) == (("red", "green", "blue"), 32, True)
    assert spec.resolution == 1.0
    assert 500 < spec.radius < 544
    assert {"attribution", "accuracy_iou", "stages", "never_trained_on"} <= set(spec.card)
    credits = " ".join(spec.card["attribution"])
    for name in ("MBRSC", "OpenAerialMap", "OpenStreetMap", "NAIP", "MassGIS", "ImageNet"):
        assert name in credits


def test_it_sees_a_town_that_it_was_not_trained_on(bundle: ModelBundle) -> None:
    network = build_network(bundle.spec).eval()
    network.load_state_dict(bundle.tensors())
    picture, truth = make_town(3, 448, 448, 0.5)
    image = torch.from_numpy(picture).float() / 255
    known = np.ones(truth.shape, bool)
    inputs = standardise(image, bundle.spec.mean, bundle.spec.std, known)
    with torch.inference_mode():
        said = network(inputs[None])[0].argmax(0).numpy()
    scores = {}
    for index, name in enumerate(bundle.spec.legend.names):
        both, either = (said == index) & (truth == index), (said == index) | (truth == index)
        scores[name] = both.sum() / max(1, either.sum())
    assert np.mean(list(scores.values())) > 0.5, scores
    assert min(scores["vegetation"], scores["road"]) > 0.4, scores
