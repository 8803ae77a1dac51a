"""Advice on names that BVLC Caffe does not have: whether they are misspelt or from a fork of Caffe, and from which.

The lists contain what published definitions use most. Forks copy layers from each other, so a name is listed with the
fork that it was first in.
"""

import difflib
import re

from ..proto import caffe_pb2
from .upgrade import V0_TYPES, V1_TYPES

#: type of an old definition -> current type
OLD_TYPES = V0_TYPES | {caffe_pb2.V1LayerParameter.LayerType.Name(number): name for number, name in V1_TYPES.items()}

#: fork -> the fields and layer types that it adds
_FORKS = {
    "SSD (weiliu89/caffe)": """
        annotated_data_param detection_evaluate_param detection_output_param multibox_loss_param norm_param
        permute_param prior_box_param video_data_param resize_param noise_param distort_param expand_param
        emit_constraint crop_h crop_w eval_type ap_version show_per_class_result plateau_winsize
        AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox VideoData""",
    "Fast R-CNN (rbgirshick/caffe-fast-rcnn)": """
        roi_pooling_param smooth_l1_loss_param scale_train ROIPooling SmoothL1Loss""",
    "R-FCN (daijifeng001/caffe-rfcn)": """
        psroi_pooling_param box_annotator_ohem_param PSROIPooling BoxAnnotatorOHEM SmoothL1LossOHEM
        SoftmaxWithLossOHEM""",
    "DeepLab": """
        interp_param seg_accuracy_param unpooling_param mat_read_param mat_write_param dense_crf_param densecrf_param
        domain_transform_param unique_label_param spatial_product_param adaptive_bias_channel_param
        bias_channel_param padding_param onehot_param softmaxloss_param hole hole_h hole_w crop_width crop_height
        label_type Interp SegAccuracy ImageSegData Unpooling MatRead MatWrite DenseCRF DomainTransform
        DomainTransformForwardOnly UniqueLabel SpatialProduct AdaptiveBiasChannel BiasChannel""",
    "SegNet (alexgkendall/caffe-segnet), on which ENet is based": """
        upsample_param dense_image_data_param bn_mode weight_by_label_freqs class_weighting sample_weights_test
        Upsample DenseImageData SpatialDropout""",
    "CRF-RNN (torrvision/crfasrnn)": "multi_stage_meanfield_param MultiStageMeanfield",
    "yjxiong's (yjxiong/caffe), on which PSPNet (hszhao/PSPNet) is based": """
        bn_param batch_reduction_param seg_data_param mem_param richness is_flow multi_scale scale_ratios fix_crop
        more_fix_crop max_distort original_image BN SegData BatchReduction""",
    "NVCaffe (NVIDIA/caffe)": """
        default_forward_type default_backward_type default_forward_math default_backward_math forward_type
        backward_type forward_math backward_math forward_packing cudnn_math_override conv_algos_override
        cudnn_convolution_algo_seeker default_conv_algos_override default_cudnn_math_override global_grad_scale
        global_grad_scale_adaptive reduce_buckets per_parameter_reduce eltwise_mem_sharing solver_data_type
        use_gpu_transform parser_threads threads cache precache dataset_share_per_node record_id allow_upscale
        interpolation_algo_up interpolation_algo_down img_rand_resize_lower img_rand_resize_upper
        rand_resize_ratio_lower rand_resize_ratio_upper detectnet_groundtruth_param detectnet_augmentation_param
        scale_bias local_lr_auto local_gw_ratio larc larc_eta larc_policy larc_turbo min_lr rampup_interval rampup_lr
        momentum_policy momentum_power max_momentum weight_decay_policy weight_decay_power max_weight_decay
        store_blobs_in_old_format test_and_snapshot_last_epochs label_smoothing trt_param torch_pooling
        DetectNetTransformation TRT""",
    "Intel Caffe (intel/caffe)": """
        bn_stats_batch_size stats_batch_size use_weight_bias fusion_type fuse compile_net_state bn_scale_merge
        bn_scale_remove kept_bn_layers per_fla_fuse multinode multinode_param model_parallel mn_activation_param
        mn_grad_compress_param param_grad_compress_enable compression_param remote_data_param need_reduce warmup_iter
        warmup_start_lr stagelr stageiter disabled_update random_resize_param random_aspect_ratio_param
        force_u8_input bgr2rgb avg_include_pad conv_algorithm relu spatial_dropout_param split_param
        simpler_nms_param eval_detection_param continuation_indicator_param kernel_size_3d stride_3d pad_3d
        BoxData ContinuationIndicator EvalDetection MKLBatchNorm MnActivation RemoteData SimplerNMS""",
    "Ristretto": "quantization_param ConvolutionRistretto DeconvolutionRistretto FcRistretto LRNRistretto",
    "FlowNet (lmb-freiburg/flownet2)": """
        correlation_param augmentation_param resample_param l1_loss_param lpq_loss_param coeff_schedule_param
        accum_param black_augmentation_param downsample_param flow_warp_param mean_param reader_param writer_param
        Correlation Correlation1D DataAugmentation BlackAugmentation FlowAugmentation GenerateAugmentationParameters
        L1Loss LpqLoss Resample FlowWarp ChannelNorm Downsample Accum Mean NegReLU CustomData DisparityData ImgReader
        ImgWriter FloatReader FloatWriter FLOWriter PFMWriter""",
    "the centre loss (ydwen/caffe-face)": "center_loss_param CenterLoss",
    "SphereFace and its relatives (happynear/caffe-windows)": """
        margin_inner_product_param largemargin_inner_product_param label_specific_add_param
        label_specific_margin_param label_specific_hard_margin_param label_specific_affine_param
        label_specific_rescale_param label_specific_statistics_param normalize_param channel_scale_param
        eltwise_affine_param feature_decay_loss_param feature_incay_loss_param general_triplet_loss_param
        general_contrastive_loss_param batch_contrastive_loss_param soft_contrastive_loss_param inner_distance_param
        insanity_param pairwise_param flip_param truncation_param smoothl1_param fix_lr face_transform
        MarginInnerProduct LargeMarginInnerProduct LabelSpecificAdd LabelSpecificMargin LabelSpecificHardMargin
        LabelSpecificAffine LabelSpecificRescale ChannelScale EltwiseAffine GeneralTripletLoss
        GeneralContrastiveLoss InnerDistance Insanity Pairwise Flip Noise Cosine""",
    "SENet (hujie-frank/SENet)": "Axpy",
    "ShuffleNet and MobileNet": """
        shuffle_channel_param relu6_param ShuffleChannel ConvolutionDepthwise DepthwiseConvolution ReLU6""",
    "OpenPose (openpose_caffe_train)": """
        op_transform_param cpm_transform_param imresize_param nms_param OPData OPVideo CPMData ImResize Nms""",
    "YOLO (eric612/MobileNet-YOLO)": """
        reorg_param region_loss_param yolov3_param yolo_detection_output_param yolov3_detection_output_param
        yolo_seg_param segmentation_evaluate_param cvt_bgr2rgb Reorg RegionLoss Yolov3 YoloDetectionOutput
        Yolov3DetectionOutput YoloSeg SegmentationEvaluate""",
    "CTC": "ctc_loss_param warp_ctc_loss_param ctc_decoder_param CtcLoss WarpCTCLoss CTCDecoder",
    "the spatial transformer": "st_param SpatialTransformer",
    "deformable convolution": "deformable_convolution_param DeformableConvolution",
    "C3D": "kernel_depth temporal_stride temporal_pad Convolution3D Deconvolution3D Pooling3D",
    "HED (s9xie/hed)": "AutoCrop ImageLabelmapData",
    "junhyukoh's LSTM (junhyukoh/caffe-lstm)": "lstm_param Lstm",
    "Synopsys (foss-for-synopsys-dwc-arc-processors/synopsys-caffe)": "squeeze_param Squeeze",
    "several": """
        ceil_mode roi_align_param triplet_loss_param focal_loss_param transpose_param reverse_param proposal_param
        ROIAlign TripletLoss FocalLoss Transpose Reverse Proposal""",
}
#: fork that `caffe.forks` switches on -> the layer types and the fields of BVLC Caffe's messages that it adds
SHIPPED = {
    "ssd": """
        permute_param prior_box_param norm_param detection_output_param
        Permute PriorBox Normalize DetectionOutput SmoothL1Loss""",
    "fast-rcnn": "roi_pooling_param smooth_l1_loss_param scale_train ROIPooling SmoothL1Loss Dropout",
    "r-fcn": "psroi_pooling_param roi_pooling_param PSROIPooling ROIPooling",
    "segnet": "upsample_param bn_param Upsample BN",
    "pspnet": "interp_param bn_param Interp BN",
    "deeplab": "interp_param Interp",
    "shufflenet": "shuffle_channel_param ShuffleChannel",
    "mobilenet": "ConvolutionDepthwise DepthwiseConvolution",
    "senet": "Axpy",
    "synopsys": "squeeze_param ceil_mode Squeeze Pooling",
    "ceil-mode": "ceil_mode Pooling",
}
_OLD_WORDS = {old.replace("_", "").lower(): current for old, current in OLD_TYPES.items()}
_FORK = {name: fork for fork, known in _FORKS.items() for name in known.split()}
_INSTEAD = {
    "ceil_mode": "in pooling_param write round_mode: FLOOR instead of ceil_mode: false; true is the default, CEIL",
    "hole": "write dilation instead",
}


def on_field(kind, name):
    """What to do about a field that messages of a type (``caffe.PoolingParameter``) do not have."""
    pool = caffe_pb2.DESCRIPTOR.pool
    messages = caffe_pb2.DESCRIPTOR.message_types_by_name.values()
    others = [message.full_name for message in messages if name in message.fields_by_name and "V0" not in message.name]
    if name in _FORK and not others:
        todo = [_INSTEAD.get(name), _switch(name)]
        return f"{_of_fork(name, 'field')}; {', or '.join(filter(None, todo)) or 'remove it, or run that fork'}."
    if kind == "caffe.SolverParameter" and "caffe.NetParameter" in others:
        return "it is a field of a net's definition, caffe.NetParameter, so check which file was named."
    if kind == "caffe.NetParameter" and others == ["caffe.SolverParameter"]:
        return "it is a field of a solver's definition, caffe.SolverParameter, so check which file was named."
    if others:
        return (
            f"it is a field of {', '.join(others)}, so check where it is written and the closing braces before it; "
            "or it is a field of a fork of Caffe."
        )
    near = misspelt(name, [field.name for field in pool.FindMessageTypeByName(kind).fields])
    if near:
        return f"did you mean {near}?"
    return (
        "BVLC Caffe has no field of this name, so the definition is probably written for a fork of it: remove the "
        "field or correct its spelling."
    )


def on_old_type(name, known):
    """What to do about an unknown type in ``layers``; ``name`` may be in quotes."""
    word = name.strip("'\"")
    if word != name or not (word.isupper() or (word.islower() and word not in OLD_TYPES)):
        return (
            "'layers' is the old form, whose type is an enum value such as CONVOLUTION; where types are strings, as in "
            f"type: \"{OLD_TYPES.get(word, word)}\", rename 'layers' to 'layer'."
        )
    if word in _FORK:
        return f"{_of_fork(word, 'type')}; {_switch(word) or 'run that fork or replace the layer'}."
    near = misspelt(word, known)
    if near:
        return f"did you mean {near}?"
    return "BVLC Caffe has no such type, so the definition is probably written for a fork of it."


def on_type(name, known):
    """What to do about an unknown layer type, as part of a sentence."""
    if name in _FORK:
        return f"{_of_fork(name, 'type')}; {_switch(name) or 'run that fork or replace the layer'}"
    current = _OLD_WORDS.get(name.replace("_", "").lower()) or misspelt(name, known)
    if current:
        return f'perhaps "{current}" is meant'
    return "BVLC Caffe has no such type, so the definition is probably written for a fork of it"


def _switch(name):
    """How to switch on a fork that has this layer type or field; None where none is here."""
    has = [fork for fork, names in SHIPPED.items() if name in names.split()]
    if len(has) < 2:
        return f'switch it on with caffe.forks("{has[0]}") or CAFFE_FORKS={has[0]}' if has else None
    calls = " or ".join(f'caffe.forks("{fork}")' for fork in has)
    return f"switch on the one that the definition is for, with {calls}, or CAFFE_FORKS={has[0]} and so on"


def misspelt(name, known):
    """The known name that is most like this one; None where there is none, or where two are as much like it.

    Another first letter or other digits are not a slip: relu6 and unpooling are meant as they are written. An ending
    ``_param`` is not compared, nor is its plural.
    """
    name = re.sub("_params$", "_param", name)
    stem = name.lower().removesuffix("_param")
    stems = {}
    for other in known:
        candidate = other.lower().removesuffix("_param")
        same_kind = name.endswith("_param") == other.endswith("_param")
        if same_kind and candidate[0] == stem[:1] and re.findall(r"\d", candidate) == re.findall(r"\d", stem):
            stems[candidate] = other
    matches = difflib.get_close_matches(stem, stems, n=2, cutoff=0.8)
    likeness = [difflib.SequenceMatcher(None, match, stem).ratio() for match in matches]
    if not matches or (len(matches) == 2 and likeness[0] == likeness[1]):
        return None
    return stems[matches[0]]


def _of_fork(name, what):
    fork = _FORK[name]
    whose = "of several forks of Caffe" if fork == "several" else f"of a fork of Caffe, {fork}"
    return f"{name} is a {what} {whose}, and BVLC Caffe has none of this name"
