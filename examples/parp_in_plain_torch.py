"""Algorithm 1 of PARP on a small net: prune, adjust, re-prune, in plain torch."""

import torch
from torch import nn

from parp_fairseq.pruning import Pruner, Scope, SparsitySchedule, magnitude_mask

SPARSITY, UPDATES, INTERVAL = 0.9, 400, 50

torch.manual_seed(1)
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
teacher = nn.Linear(20, 4)
inputs = torch.randn(2000, 20)
labels = teacher(inputs).argmax(1)

# What may be pruned: the weights of two layers, chosen by their names.
names = Scope(include=("0", "2")).select(name for name, _ in model.named_parameters())
weights = {name: model.get_parameter(name) for name in names}

# Prune: the magnitude mask of the weights that training starts from.
pruner = Pruner(SparsitySchedule(final=SPARSITY), interval=INTERVAL, total_updates=UPDATES)
pruner.start(weights, magnitude_mask(weights, SPARSITY))

optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for update in range(UPDATES):
    pruner.begin_update(epochs_done=0, update=update)
    # Adjust: gradients move all weights, the pruned ones too.
    batch = torch.randint(len(inputs), (64,))
    loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    # Re-prune, every INTERVAL updates and at the end.
    pruner.end_update(update + 1)
    if (update + 1) % 100 == 0:
        with pruner.subnetwork(), torch.no_grad():
            accuracy = (model(inputs).argmax(1) == labels).float().mean()
        print(f"update {update + 1}: accuracy of the subnetwork {accuracy:.1%}")

zeros = sum(int((weight == 0).sum()) for weight in weights.values())
entries = sum(weight.numel() for weight in weights.values())
print(f"{zeros} of {entries} prunable weights are zero, {pruner.revived:.1%} came back at last")
