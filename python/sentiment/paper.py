"""Constants and published numbers of the paper, each stated once.

Campos, Jou, Giro-i-Nieto: From Pixels to Sentiment: Fine-tuning CNNs for Visual Sentiment Prediction. Image and Vision
Computing, 2017. A mark shows where a value comes from: **K**, the paper states it; **A**, files that the authors
published contain it; **?**, it is stated nowhere, so it is this project's choice, and an option changes it.
"""

# Data

SUBSETS = ("five_agrees", "four_agrees", "three_agrees")  # K
ANNOTATORS = {"five_agrees": 5, "four_agrees": 4, "three_agrees": 3}  # K: how many of five agree, at least
FOLDS = (1, 2, 3, 4, 5)  # K: five-fold cross-validation
NEGATIVE, POSITIVE = 0, 1  # A: the labels in the authors' lists
CLASSES = 2
LABELLED_IMAGES = {"five_agrees": 882, "four_agrees": 1116, "three_agrees": 1269}  # K
IMAGES = {"five_agrees": 880, "four_agrees": 1115, "three_agrees": 1265}  # A: rounded down to a multiple of five
TEST_POSITIVES = {  # A: positives in the test list of folds 1 to 5
    "five_agrees": (115, 113, 124, 121, 106),
    "four_agrees": (136, 133, 152, 129, 138),
    "three_agrees": (159, 150, 153, 155, 150),
}

# Images

IMAGE_SIZE = 256  # K: height and width after resizing, pixels; ?: warped, not cropped
CROP = 227  # K: height and width of CaffeNet's input, pixels
MAP_INPUT = 451  # K: height and width of the fully convolutional net's input, pixels
MAP_SIZE = 8  # K: height and width of the sentiment map, cells
MAP_STRIDE = 32  # K: pixels from one cell of the map to the next
IMAGENET_MEANS_BGR = (104.00698793, 116.66876762, 122.67891434)  # of the ImageNet mean image, 0 to 255
RANDOM_CROPS, MIRROR, SHUFFLE = True, True, True  # ?: in training; shuffled every epoch: Caffe's fine-tuning template

# Training

BATCH_SIZE = 256  # K
BASE_LR = 0.001  # K
BASE_LR_FC6_2 = 0.0001  # K: fc6-2 does not converge at BASE_LR
GAMMA = 0.1  # K: "divided by 10"
MOMENTUM = 0.9  # K
WEIGHT_DECAY = 0.0005  # ?: Caffe's fine-tuning template
STEP_EPOCHS = 6  # K: epochs between two divisions of the learning rate
EPOCHS = 65  # K
ITERATIONS = {"five_agrees": 180, "four_agrees": 225, "three_agrees": 255}  # A: 65 epochs; ?: to a multiple of 15
STEP = {"five_agrees": 17, "four_agrees": 21, "three_agrees": 24}  # ?: round(6 N / 256)
NEW_LAYER_LR_MULT = 10  # K: learning rate of the new last layer relative to that of the others
NEW_LAYER_BIAS_LR_MULT = 20  # ?: Caffe's fine-tuning template
LR_MULT, BIAS_LR_MULT, BIAS_DECAY_MULT = 1, 2, 0  # ?: Caffe's fine-tuning template
FC9_RELU, FC9_DROPOUT = False, False  # ?: nothing between the source's last layer and fc9_twitter
NEW_LAYER_STD = 0.01  # K: zero-mean Gaussian weights, zero bias

# PCNN, the baseline of Table 2: Q. You, J. Luo, H. Jin, J. Yang: Robust Image Sentiment Analysis Using Progressively
# Trained and Domain Transferred Deep Networks. AAAI, 2015. Here **K** is what that paper states.

PCNN_CONV = (96, 256)  # K: filters of its two convolutions, 11x11 with stride 4 and 5x5 with stride 2 (?)
PCNN_CONNECTED = (512, 512)  # K: units of its fully connected layers but the last two
PCNN_EMOTIONS = 24  # K: units of the last but one, for the 24 emotions of Plutchik's wheel
PCNN_BATCH_SIZE = 32  # ?: there 256, for 400,000 pictures
PCNN_BASE_LR = 0.0005  # ?
PCNN_EPOCHS, PCNN_STEP_EPOCHS = 40, 30  # ?
PCNN_TRAIN_ON = 3  # ?: it is trained on with the kept pictures for a third as many iterations, 100,000 after 300,000

# Names

NET_NAME = "MVSOCaffeNet_Twitter"  # A
FCN_NAME = "Twitter_finetuned_conv"  # A
NEW_LAYER = "fc8_twitter"  # A: the layer with two outputs that replaces fc8
INITIALISATIONS = {  # K, Table 5, in its order
    "caffenet": "CaffeNet",
    "places": "PlacesCNN",
    "deepsentibank": "DeepSentiBank",
    "mvso_en": "MVSO [EN]",
    "mvso_es": "MVSO [ES]",
    "mvso_fr": "MVSO [FR]",
    "mvso_it": "MVSO [IT]",
    "mvso_de": "MVSO [DE]",
    "mvso_zh": "MVSO [ZH]",
}

# Published numbers
# Accuracies are (mean, standard deviation) over the five folds, 1 is perfect; None where the paper gives no deviation.

TABLE1 = {  # K: layer of the fully convolutional net -> (filters, filter shape as width x height x channels)
    "fc6-conv": (4096, (6, 6, 256)),
    "fc7-conv": (4096, (1, 1, 4096)),
    "fc8_twitter-conv": (2, (1, 1, 4096)),
}

TABLE2: dict[str, dict[str, dict[str, tuple]]] = {  # K: row -> subset -> way of testing
    "PCNN": {
        "five_agrees": {"center": (0.783, None)},
        "four_agrees": {"center": (0.714, None)},
        "three_agrees": {"center": (0.687, None)},
    },
    "CaffeNet": {
        "five_agrees": {"center": (0.817, 0.038), "oversampled": (0.830, 0.034)},
        "four_agrees": {"center": (0.782, 0.033), "oversampled": (0.787, 0.039)},
        "three_agrees": {"center": (0.739, 0.033), "oversampled": (0.749, 0.037)},
    },
}

TABLE3 = {  # K: layer -> classifier on its activations; layers from the output to the input
    "fc8": {"svm": (0.82, 0.055), "softmax": (0.821, 0.046)},
    "fc7": {"svm": (0.814, 0.040), "softmax": (0.814, 0.044)},
    "fc6": {"svm": (0.804, 0.031), "softmax": (0.81, 0.038)},
    "pool5": {"svm": (0.784, 0.020), "softmax": (0.786, 0.022)},
    "conv5": {"svm": (0.776, 0.025), "softmax": (0.779, 0.034)},
    "conv4": {"svm": (0.794, 0.026), "softmax": (0.781, 0.020)},
    "conv3": {"svm": (0.752, 0.033), "softmax": (0.748, 0.029)},
    "norm2": {"svm": (0.735, 0.025), "softmax": (0.737, 0.021)},
    "pool2": {"svm": (0.732, 0.019), "softmax": (0.729, 0.022)},
    "conv2": {"svm": (0.735, 0.019), "softmax": (0.738, 0.030)},
    "norm1": {"svm": (0.706, 0.032), "softmax": (0.712, 0.031)},
    "pool1": {"svm": (0.674, 0.045), "softmax": (0.68, 0.035)},
    "conv1": {"svm": (0.667, 0.049), "softmax": (0.67, 0.032)},
}
C_GRID_EXPONENTS = (-5, -3, -1, 0, 1, 3, 5, 7, 9, 11, 13, 15)  # A: C = 2^N

TABLE4 = {  # K: architecture -> way of testing, five-agree; section 3.3 swaps the two names
    "fc7-2": {"center": (0.784, 0.024), "oversampled": (0.797, 0.021)},
    "fc6-2": {"center": (0.651, 0.044), "oversampled": (0.676, 0.029)},
}
TABLE4_FEWER_PARAMETERS = {"fc7-2": 16_000_000, "fc6-2": 54_000_000}  # K: "more than"

TABLE5 = {  # K: initialisation -> way of testing, five-agree
    "caffenet": {"center": (0.817, 0.038), "oversampled": (0.830, 0.034)},
    "places": {"center": (0.823, 0.025), "oversampled": (0.823, 0.026)},
    "deepsentibank": {"center": (0.804, 0.019), "oversampled": (0.806, 0.019)},
    "mvso_en": {"center": (0.839, 0.029), "oversampled": (0.844, 0.026)},
    "mvso_es": {"center": (0.833, 0.024), "oversampled": (0.844, 0.026)},
    "mvso_fr": {"center": (0.825, 0.019), "oversampled": (0.828, 0.012)},
    "mvso_it": {"center": (0.838, 0.020), "oversampled": (0.838, 0.012)},
    "mvso_de": {"center": (0.837, 0.025), "oversampled": (0.837, 0.033)},
    "mvso_zh": {"center": (0.797, 0.024), "oversampled": (0.806, 0.020)},
}

TABLE6 = {  # K: initialisation of fc9 -> way of testing, five-agree
    "caffenet": {"center": (0.795, 0.023), "oversampled": (0.803, 0.034)},
    "mvso_en": {"center": (0.702, 0.067), "oversampled": (0.694, 0.060)},
}
MAP_COST = 3  # K: an 8x8 map costs about this many single predictions
