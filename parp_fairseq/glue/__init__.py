"""PARP on BERT and XLNet: the nine tasks of GLUE (paper, section 4.5 and table 4)."""
