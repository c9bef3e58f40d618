"""Stand-in for tests, not GPAvatar: the plane is the picture."""


def perspective_input(feature, transforms, meta_info, fill=1.0):
    assert feature.shape == (1, 3, 512, 512)
    assert transforms.shape == (1, 3, 4)
    assert (meta_info["focal_length"], fill) == (12.0, 0.0)
    return feature * 1.0
