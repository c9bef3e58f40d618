"""What can be said of AvatarArtist without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="avatarartist",
    name="AvatarArtist",
    summary="open-domain 4D avatars: diffusion makes the tri-planes, a renderer moves them; its authors' code",
    factory="avatarbench.methods.avatarartist.adapter:AvatarArtist",
    status="unverified",
    licence_code="Apache-2.0, as its README says",
    licence_weights="not stated",
    paper="https://arxiv.org/abs/2503.19906",
    repository="https://github.com/ant-research/AvatarArtist",
    commit="273cf7615b4fcbc13a8df4ca9e32297929e976a5",
    environment="avatarbench.methods.avatarartist.recipe:RECIPE",
    needs=("image",),
    tracker="AvatarArtist's own (RetinaFace, H3R, 3DFAN; FaceVerse fitted to MediaPipe's face mesh)",
    framing=Framing(size=512, scale=1.35, alpha=True),
    notes="Tracks source and drivers itself, in 512 x 512 crops that it aligns by five points, smoothed over a "
    "driver's frames; its pictures are put back into the driver's frame by that crop, and the protocol's colour is "
    "where it does not reach. The head is sampled by diffusion: the seed decides it (option seed, 0). The expression "
    "is FaceVerse's. What it was trained on is not stated in its repository.",
)
