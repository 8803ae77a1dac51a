"""What the paper's parts are made from, each training once."""

from dataclasses import replace

from sentiment import paper
from sentiment.experiments import paper_parts
from sentiment.experiments.paper_parts import CAFFENET, trainings


def test_the_five_agree_caffenet_is_one_training_for_all_that_need_it():
    needing = ["table2", "table3", "table4", "table5", "figure6"]
    assert all(CAFFENET in trainings([part]) for part in needing[:-1])
    assert trainings(needing).count(CAFFENET) == 1
    assert trainings(["figure6"])[0] == replace(CAFFENET, folds=(1,))


def test_what_needs_more_than_trained_nets_is_in_the_estimate():
    assert list(paper_parts.seconds_more(["table2"])) == []
    table3, figure7 = paper_parts.seconds_more(["table3", "figure7"])
    small = sum(paper_parts.seconds_more(["table3", "figure7"], 8))
    assert table3 > figure7 > 0 and figure7 / 8 + 100 < small < table3


def test_the_whole_paper():
    nets = trainings(paper_parts.PARTS)
    assert len({replace(net, folds=()) for net in nets}) == len(nets) == 18
    assert sum(len(net.folds) for net in nets) == 17 * 5 + 1
    assert {net.init for net in nets} == set(paper.INITIALISATIONS)
    assert [net for net in nets if net.usual_rate] == [
        paper_parts.Training("five_agrees", "fc6-2", "caffenet", (1,), usual_rate=True)
    ]


def test_another_net_can_be_the_subject_where_there_is_one_subject():
    nets = trainings(["table2", "table5"], arch="squeezenet", init="mine.caffemodel")
    assert [(net.subset, net.arch, net.init) for net in nets[:3]] == [
        (subset, "squeezenet", "mine.caffemodel") for subset in paper.SUBSETS
    ]
    assert [net.init for net in nets[3:]] == list(paper.INITIALISATIONS)
    assert {net.arch for net in nets[3:]} == {"finetune"}
