"""What the paper's parts are made from, each experiment once."""

from dataclasses import replace

from sentiment import paper
from sentiment.experiments import paper_parts, planning
from sentiment.experiments.paper_parts import CAFFENET, Experiment, experiments


def test_the_five_agree_caffenet_is_one_experiment_for_all_that_need_it():
    needing = ["table2", "table3", "table4", "table5", "figure6"]
    assert all(CAFFENET in experiments([part]) for part in needing[:-1])
    assert experiments(needing).count(CAFFENET) == 1
    assert experiments(["figure6"])[0] == replace(CAFFENET, folds=(1,))


def test_what_needs_more_than_trained_nets_is_in_the_estimate():
    assert planning.seconds_analysing(["table2"]) == 0
    table3, figure7 = planning.seconds_analysing(["table3"]), planning.seconds_analysing(["figure7"])
    small = planning.seconds_analysing(["table3", "figure7"], 8)
    assert table3 > figure7 > 0 and figure7 / 8 + 100 < small < table3


def test_the_whole_paper():
    nets = experiments(paper_parts.PARTS)
    assert len({replace(net, folds=()) for net in nets}) == len(nets) == 18
    assert sum(len(net.folds) for net in nets) == 17 * 5 + 1
    assert {net.init for net in nets} == set(paper.INITIALISATIONS)
    assert [net for net in nets if net.full_rate] == [
        Experiment("five_agrees", "fc6-2", "caffenet", (1,), full_rate=True)
    ]


def test_another_net_can_be_the_subject_where_there_is_one_subject():
    nets = experiments(["table2", "table5"], arch="squeezenet", init="mine.caffemodel")
    assert [(net.subset, net.arch, net.init) for net in nets[:3]] == [
        (subset, "squeezenet", "mine.caffemodel") for subset in paper.SUBSETS
    ]
    assert [net.init for net in nets[3:]] == list(paper.INITIALISATIONS)
    assert {net.arch for net in nets[3:]} == {"finetune"}
