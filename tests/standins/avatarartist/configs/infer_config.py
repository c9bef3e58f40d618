# Stand-in for tests, not AvatarArtist.
