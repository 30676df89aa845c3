"""Every file that holds weights or masks, read as data: nothing that it holds is executed."""
