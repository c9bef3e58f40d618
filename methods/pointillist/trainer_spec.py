"""The stages of AvatarPointillist's training, without importing them."""

from avatarbench.trainer import Stage, TrainerSpec

SPEC = TrainerSpec(
    id="pointillist",
    summary="AvatarPointillist: one portrait to a rigged cloud of Gaussians, token by token.",
    stages={
        "data": Stage(
            "Fit every training person; store clouds, portraits and their tracking.",
            "avatarbench.methods.pointillist.data_cli:data",
        ),
        "ar": Stage(
            "Train stage one, the autoregressive transformer.",
            "avatarbench.methods.pointillist.training.cli:ar",
        ),
        "clouds": Stage(
            "Generate the clouds that stage two is trained on, with stage one frozen.",
            "avatarbench.methods.pointillist.decoder.clouds_cli:clouds",
        ),
        "decoder": Stage(
            "Train stage two, the Gaussian decoder, on these clouds and the people's pictures.",
            "avatarbench.methods.pointillist.decoder.cli:decoder",
        ),
        "export": Stage(
            "Store trained weights at half precision, as they ship.",
            "avatarbench.methods.pointillist.export_cli:export",
        ),
        "evaluate": Stage(
            "Judge a checkpoint of stage one on people it has not seen.",
            "avatarbench.methods.pointillist.evaluate_cli:evaluate",
        ),
    },
    generate="avatarbench.methods.pointillist.generate:generate",
)
