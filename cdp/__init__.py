"""The whole: puts the apps together. It knows everyone, nobody knows it."""
