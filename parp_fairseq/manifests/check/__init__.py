"""Whether manifests are sound."""
