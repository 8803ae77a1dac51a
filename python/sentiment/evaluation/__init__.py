"""Testing trained networks: predictions, accuracies and sentiment maps. A module calls only those above it.

predictions   one image's prediction, and predictions.csv
inference     from image files to a net's probabilities, for evaluate, predictor and fold_maps
maps          from a fully convolutional net to a map and its overlay, for predictor and fold_maps
results       the result of a tested run, and result.json
uncertainty   intervals of accuracies and tests of differences, for report
network       the files and names of a network, found by its run or given, for evaluate and predictor
predictor     one network loaded, for single images: tools/predict.py and the web page
evaluate      a run tested on its fold's list: tools/evaluate.py
fold_maps     the maps of runs' test images: tools/sentiment_maps.py
"""
