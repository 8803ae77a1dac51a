"""Claims are decided by the numbers they name, and left open where a run is missing."""

import pytest

from helpers import made_up
from sentiment import paper
from sentiment.report import claims, study
from sentiment.utils.files import read_json, write_json

TITLES = [claim.title for claim in claims.CLAIMS]


def verdicts(root):
    [found] = study.read(root)
    return {row[0]: row[3].outcome for row in claims.table(found).rows}


def needs(root, title):
    [found] = study.read(root)
    return next(row[3].needs for row in claims.table(found).rows if row[0] == title)


def test_the_paper_s_own_numbers_bear_out_each_claim_it_has_numbers_for():
    open_claims = []
    for claim in claims.CLAIMS:
        verdict, _ = claim.verdict(claims.Evidence())
        if verdict.needs:
            open_claims.append(claim.where)
        else:
            assert verdict.outcome == claims.HELD, claim.title
    assert open_claims == ["§4.3", "Figure 6", "Figure 6"]  # these are of losses, which it does not print


def test_nothing_is_decided_without_the_runs(tmp_path):
    made_up.run(tmp_path, 1, init="mine")
    assert set(verdicts(tmp_path).values()) == {claims.NOT_TESTED}
    assert needs(tmp_path, "Ten crops help").startswith("CaffeNet five-agree, CaffeNet four-agree")


def test_five_folds_are_needed(tmp_path):
    for subset in paper.SUBSETS:
        for fold in (1, 2, 4, 5):
            made_up.run(tmp_path, fold, subset=subset)
    assert needs(tmp_path, "Ten crops help").startswith("CaffeNet five-agree folds 3,")
    for subset in paper.SUBSETS:
        made_up.run(tmp_path, 3, subset=subset)
    assert verdicts(tmp_path)["Ten crops help"] == claims.NOT_HELD  # both ways are equally good


@pytest.mark.parametrize(("fc7", "fc6", "slightly", "much"), [(15, 8, 1, 1), (10, 14, 0, 0), (17, 16, 0, 0)])
def test_worse_is_measured_in_standard_deviations(tmp_path, fc7, fc6, slightly, much):
    for fold, right in zip(paper.FOLDS, (14, 15, 16, 17, 18)):  # mean .8, std .07
        made_up.run(tmp_path, fold, right)
    made_up.five(tmp_path, arch="fc7-2", right=fc7)
    made_up.five(tmp_path, arch="fc6-2", right=fc6)
    found = verdicts(tmp_path)
    assert found["fc7-2 is slightly worse than the whole net"] == (claims.HELD if slightly else claims.NOT_HELD)
    assert found["fc6-2 is much worse than the whole net"] == (claims.HELD if much else claims.NOT_HELD)


@pytest.mark.parametrize(("losses", "word"), [([0.9] * 60, "held"), ([float("nan")] * 60, "held"), (None, "not held")])
def test_fc6_2_at_the_others_rate_is_found_by_its_rate(tmp_path, losses, word):
    title = "fc6-2 does not converge at the base rate of the others, 0.001"
    made_up.run(tmp_path, 1)
    made_up.run(tmp_path, 1, arch="fc6-2", base_lr=0.0001)
    assert verdicts(tmp_path)[title] == claims.NOT_TESTED
    made_up.run(tmp_path / "fast", 1, arch="fc6-2", base_lr=0.001, variant="lr0.001", losses=losses)
    assert verdicts(tmp_path)[title] == word


def test_initialisations(tmp_path):
    right = {"caffenet": 14, "places": 13, "deepsentibank": 12, "mvso_zh": 14}
    for init in paper.INITIALISATIONS:
        slow = init == "deepsentibank"
        losses = made_up.falling(60, speed=12 if slow else 5 if init in claims.MVSO else 7)
        noisy = [loss + (0.05 if slow else 0.01) * (-1) ** n for n, loss in enumerate(losses)]
        made_up.five(tmp_path, init=init, right=right.get(init, 16), losses=losses if init in claims.MVSO else noisy)
    found = verdicts(tmp_path)
    assert found["Sources trained on sentiment are above those trained on objects and places"] == claims.HELD
    assert found["MVSO [ZH] is the worst of the MVSO sources"] == claims.HELD
    assert found["DeepSentiBank's training is noisier and slower"] == claims.HELD
    assert found["MVSO's trainings are faster and smoother"] == claims.HELD
    made_up.five(tmp_path, init="places", right=19)
    made_up.five(tmp_path, init="mvso_it", right=13)
    found = verdicts(tmp_path)
    assert found["Sources trained on sentiment are above those trained on objects and places"] == claims.NOT_HELD
    assert found["MVSO [ZH] is the worst of the MVSO sources"] == claims.NOT_HELD


def test_a_training_without_its_log_leaves_claims_on_losses_open(tmp_path):
    for init in paper.INITIALISATIONS:
        made_up.run(tmp_path, 1, init=init)
    made_up.run(tmp_path, 1, init="mvso_de").log.unlink()
    title = "MVSO's trainings are faster and smoother"
    assert needs(tmp_path, title) == "the training loss of MVSO [DE], fold 1"


def test_the_added_layer(tmp_path):
    for init in paper.TABLE6:
        made_up.five(tmp_path, init=init, right=16)
        made_up.five(tmp_path, arch="fc9", init=init, right=15)
    assert verdicts(tmp_path)["A layer added (fc9) stays below fine-tuning"] == claims.HELD
    made_up.five(tmp_path, arch="fc9", init="mvso_en", right=17)
    assert verdicts(tmp_path)["A layer added (fc9) stays below fine-tuning"] == claims.NOT_HELD


@pytest.mark.parametrize("changed", [{}, {"conv5": 0.81}, {"fc6": 0.7}])
def test_layers(tmp_path, changed):
    made_up.run(tmp_path, 1)
    accuracies = {("fc8_twitter" if name == "fc8" else name): found["svm"][0] for name, found in paper.TABLE3.items()}
    path = tmp_path / "five_agrees" / "finetune-caffenet" / "layers.json"
    write_json(path, made_up.layers("caffenet", accuracies={**accuracies, **changed}))
    found = verdicts(tmp_path)
    assert found["conv5 and pool5 fall below conv4"] == ("not held" if "conv5" in changed else "held")
    assert found["Fully connected layers are above convolutional ones"] == ("not held" if changed else "held")
    write_json(path, {**read_json(path), "card": ""})  # of another network
    assert verdicts(tmp_path)["conv5 and pool5 fall below conv4"] == claims.NOT_TESTED
