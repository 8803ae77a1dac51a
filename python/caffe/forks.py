"""Advice on names that BVLC Caffe does not know: whether they are misspelt, or of one of its forks, and of which.

The lists hold what published definitions use most. A fork takes over others' layers, so a name is given to where it
comes from.
"""

from .proto import caffe_pb2
from .upgrade import V0_TYPES, V1_TYPES

#: type of an old definition -> current type
OLD_TYPES = V0_TYPES | {caffe_pb2.V1LayerParameter.LayerType.Name(number): name for number, name in V1_TYPES.items()}

#: fork -> fields it adds, and layer types, which begin with capitals
_FORKS = {
    "SSD (weiliu89/caffe)": """
        annotated_data_param detection_evaluate_param detection_output_param multibox_loss_param norm_param
        permute_param prior_box_param video_data_param resize_param noise_param distort_param expand_param
        emit_constraint crop_h crop_w eval_type ap_version show_per_class_result plateau_winsize
        AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox""",
    "Fast R-CNN (rbgirshick/caffe-fast-rcnn)": """
        roi_pooling_param smooth_l1_loss_param scale_train ROIPooling SmoothL1Loss""",
    "R-FCN (daijifeng001/caffe-rfcn)": """
        psroi_pooling_param box_annotator_ohem_param PSROIPooling BoxAnnotatorOHEM SmoothL1LossOHEM
        SoftmaxWithLossOHEM""",
    "DeepLab": """
        interp_param seg_accuracy_param unpooling_param mat_read_param mat_write_param densecrf_param
        domain_transform_param unique_label_param spatial_product_param hole hole_h hole_w crop_width crop_height
        label_type Interp SegAccuracy ImageSegData Unpooling MatRead MatWrite DenseCRF DomainTransform UniqueLabel
        SpatialProduct""",
    "SegNet (alexgkendall/caffe-segnet), which ENet's goes on from": """
        upsample_param dense_image_data_param bn_mode weight_by_label_freqs class_weighting sample_weights_test
        Upsample DenseImageData SpatialDropout""",
    "CRF-RNN (torrvision/crfasrnn)": "multi_stage_meanfield_param MultiStageMeanfield",
    "yjxiong's (yjxiong/caffe), which PSPNet's goes on from": """
        bn_param batch_reduction_param seg_data_param mem_param richness is_flow multi_scale scale_ratios fix_crop
        more_fix_crop max_distort original_image stretch BN SegData VideoData BatchReduction""",
    "NVCaffe (NVIDIA/caffe)": """
        default_forward_type default_backward_type default_forward_math default_backward_math forward_type
        backward_type forward_math backward_math cudnn_math_override conv_algos_override default_conv_algos_override
        default_cudnn_math_override global_grad_scale global_grad_scale_adaptive reduce_buckets use_gpu_transform
        parser_threads img_rand_resize_lower img_rand_resize_upper rand_resize_ratio_lower rand_resize_ratio_upper
        detectnet_groundtruth_param detectnet_augmentation_param scale_bias local_lr_auto local_gw_ratio larc
        larc_policy larc_turbo min_lr rampup_interval rampup_lr store_blobs_in_old_format
        test_and_snapshot_last_epochs DetectNetTransformation""",
    "Intel Caffe (intel/caffe)": """
        bn_stats_batch_size fusion_type compile_net_state multinode mn_param warmup_iter warmup_start_lr
        disabled_update""",
    "Ristretto": "quantization_param ConvolutionRistretto DeconvolutionRistretto FcRistretto LRNRistretto",
    "FlowNet (lmb-freiburg)": """
        correlation_param augmentation_param resample_param l1_loss_param coeff_schedule_param Correlation
        DataAugmentation FlowAugmentation GenerateAugmentationParameters L1Loss Resample FlowWarp ChannelNorm
        Downsample CustomData ImgWriter FLOWriter Mean""",
    "the centre loss (ydwen/caffe-face)": "center_loss_param CenterLoss",
    "SphereFace and its relatives": """
        margin_inner_product_param label_specific_add_param label_specific_margin_param MarginInnerProduct
        LabelSpecificAdd LabelSpecificMargin""",
    "SENet (hujie-frank/SENet)": "Axpy",
    "ShuffleNet and MobileNet": """
        shuffle_channel_param ShuffleChannel ConvolutionDepthwise DepthwiseConvolution ReLU6""",
    "OpenPose": "cpm_transform_param imresize_param nms_param CPMData ImResize Nms",
    "YOLO": "reorg_param region_loss_param yolov3_detection_output_param Reorg RegionLoss Yolov3DetectionOutput",
    "CTC": "ctc_loss_param warp_ctc_loss_param ctc_decoder_param CtcLoss WarpCTCLoss CTCDecoder",
    "the spatial transformer": "st_param SpatialTransformer",
    "deformable convolution": "deformable_convolution_param DeformableConvolution",
    "HED (s9xie/hed)": "AutoCrop ImageLabelmapData",
    "junhyukoh's LSTM (junhyukoh/caffe-lstm)": "lstm_param Lstm",
    "several": """
        ceil_mode roi_align_param triplet_loss_param focal_loss_param transpose_param reverse_param proposal_param
        ROIAlign TripletLoss FocalLoss Transpose Reverse Proposal""",
}
_FORK = {name: fork for fork, known in _FORKS.items() for name in known.split()}
_INSTEAD = {
    "ceil_mode": "in pooling_param write round_mode: FLOOR instead of ceil_mode: false; true is the default, CEIL",
    "hole": "write dilation instead",
    "scale_train": "remove it where it is true",
}

#: types of BVLC Caffe, whether this engine has them or not
_BVLC = """
    BatchReindex Clip ContrastiveLoss Embed Filter HDF5Output Im2col InfogainLoss LSTM LSTMUnit MVN
    MultinomialLogisticLoss RNN Recurrent SPP Swish Threshold Tile WindowData""".split()  # noqa: SIM905


def on_field(kind, name):
    """What to do about a field that messages of a kind (``caffe.PoolingParameter``) do not have."""
    pool = caffe_pb2.DESCRIPTOR.pool
    if name in _FORK:
        return f"{_of_fork(name, 'field')}; {_INSTEAD.get(name, 'remove it, or run that fork')}."
    near = misspelt(name, [field.name for field in pool.FindMessageTypeByName(kind).fields])
    if near:
        return f"did you mean {near}?"
    messages = caffe_pb2.DESCRIPTOR.message_types_by_name.values()
    others = [message.full_name for message in messages if name in message.fields_by_name and "V0" not in message.name]
    if others and kind in ("caffe.NetParameter", "caffe.SolverParameter") and len(others) == 1:
        return f"it is a field of {others[0]}, so check which file was named."
    if others:
        return (
            f"it is a field of {', '.join(others)}, so check where it stands, and that no closing brace is missing "
            "before it; or it is a field of a fork of Caffe."
        )
    return (
        "BVLC Caffe has no field of this name anywhere, so the definition is probably written for a fork of it: remove "
        "it or correct its spelling."
    )


def on_type(name, known):
    """What a layer type is that is none of those known; part of a sentence."""
    if name in _FORK:
        return f"{_of_fork(name, 'type')}, so run that fork or replace the layer"
    if name in _BVLC:
        return "BVLC Caffe has it, this engine does not"
    current = OLD_TYPES.get(name) or misspelt(name, known)
    if current:
        return f'perhaps "{current}" is meant'
    return "BVLC Caffe has no such type, so the definition is probably written for a fork of it"


def misspelt(name, known):
    """The one of the known names that is within a slip of the keyboard, or two in a long name; None where none is."""
    near = [(_slips(name.lower(), other.lower()), other) for other in known if abs(len(name) - len(other)) <= 2]
    slips, other = min(near, default=(9, ""))
    longer = max(len(name), len(other))
    return other if slips <= (0 if longer < 4 else 1 if longer < 8 else 2) else None


def _of_fork(name, what):
    fork = _FORK[name]
    whose = "of several forks of Caffe" if fork == "several" else f"of a fork of Caffe, {fork}"
    return f"{name} is a {what} {whose}, and BVLC Caffe has none of this name"


def _slips(one, other):
    """Letters put in, left out, changed or swapped with their neighbour, at least, between two words."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, another in enumerate(other, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != another)))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == another:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
