"""A subnetwork in forms that leave this package: stock fairseq, one sparse file, Hugging Face."""
