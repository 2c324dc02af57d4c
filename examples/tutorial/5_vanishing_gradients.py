# %% [markdown]
# # 5. Vanishing gradients
#
# Why does a deep net of sigmoids hardly learn, when one of ReLUs does? The answer is a product. The
# sigmoid is $\sigma(z) = 1 / (1 + e^{-z})$. As $1 - \sigma = e^{-z} / (1 + e^{-z})$, its slope is
#
# $$\sigma' = \frac{e^{-z}}{(1 + e^{-z})^2} = \sigma (1 - \sigma)
# = \frac14 - \left(\sigma - \frac12\right)^2 \le \frac14,$$
#
# reached at $z = 0$ alone. The ReLU $\max(0, z)$ has slope 1 for $z > 0$ and 0 for $z < 0$.

# %%
import itertools
import sys
from pathlib import Path

import numpy as np

import tinygrad_edu as tg

print(tg.grad(lambda z: np.sum(tg.sigmoid(z)))(np.array([-4.0, -2.0, 0.0, 2.0])).round(3))
# > [0.018 0.105 0.25  0.105]

# %% [markdown]
# First a net with one unit in each layer, $h_k = \sigma(z_k)$ with $z_k = w h_{k-1}$. By the chain
# rule the derivative of $h_n$ by $h_0$ is the product of all $w \, \sigma'(z_k)$, in size at most
# $(|w| / 4)^n$. With $w = 1$, four more layers cost a factor of at least $4^4 = 256$:


# %%
def chain(x, n):
    for _ in range(n):
        x = tg.sigmoid(x)
    return x


for n in (1, 5, 9):
    print(f"{n} layers: slope {tg.grad(chain)(0.0, n):.1e}, at most {0.25**n:.1e}")
# > 1 layers: slope 2.5e-01, at most 2.5e-01
# > 5 layers: slope 6.8e-04, at most 9.8e-04
# > 9 layers: slope 1.7e-06, at most 3.8e-06

# %% [markdown]
# In a real layer the weights stretch the gradient, and the slopes shrink it. Let $Z = HW + b$ be
# the sums of a layer, a row for each point, and $H = \sigma(Z')$ the units before it, with $Z'$ the
# sums one layer earlier. Write $\Delta$ and $\Delta'$ for the gradients of the loss by $Z$ and by
# $Z'$. Each $Z_{ij}$ of row $i$ reads $H_{im}$ with the factor $W_{mj}$, and the parts add up:
#
# $$\Delta'_{im} = \sigma'(Z'_{im}) \sum_j \Delta_{ij} W_{mj}.$$
#
# Measure $\Delta$ by $\|\Delta\|$, the root of the sum of its squares. Draw the weights
# independently with mean 0 and variance $2/n$, where $n$ is the number of inputs of the layer. For
# a fixed $\Delta$ the sum above has the variance $\frac2n \sum_j \Delta_{ij}^2$. Added up over all
# $i$ and the $n$ values of $m$ this is $2 \|\Delta\|^2$: the weights stretch by about $\sqrt2$.
# Slopes of at most $\frac14$ turn that into $\sqrt2 / 4$, a good third, or less, for each layer.
# With ReLUs about half of the slopes are 1, the others 0; that halves the square and gives
# $\sqrt{2/2} = 1$. (About: a draw is not the mean, and $\Delta$ has come through the same weights.)
#
# We measure it, with 6 hidden layers of 50 units and the same weights for both nets. `b` has a row
# for each point here, so that its gradient is $\Delta$ itself and not yet summed over the points.

# %%
X, y = tg.data.spiral(rng=0)  # 300 points in the plane, 3 classes
rng = np.random.default_rng(0)
sizes = [2, *[50] * 6, 3]
W = [rng.normal(scale=np.sqrt(2 / n), size=(n, m)) for n, m in itertools.pairwise(sizes)]
b = [np.zeros((len(X), m)) for m in sizes[1:]]


def loss(b, activation):
    h = X
    for k in range(6):
        h = activation(h @ W[k] + b[k])
    return tg.cross_entropy(h @ W[6] + b[6], y)


nets = {"sigmoid": tg.sigmoid, "relu": tg.relu}
size = {name: [np.linalg.norm(d) for d in tg.grad(loss)(b, nets[name])] for name in nets}
for k in range(6):
    cells = [f"{name} {d[k]:.1e}, x {d[k] / d[k + 1]:.2f}" for name, d in size.items()]
    print(f"layer {k + 1}:", "   ".join(cells))
# > layer 1: sigmoid 4.1e-05, x 0.26   relu 3.4e-02, x 0.98
# > layer 2: sigmoid 1.6e-04, x 0.32   relu 3.5e-02, x 0.80
# > layer 3: sigmoid 4.8e-04, x 0.37   relu 4.4e-02, x 0.98
# > layer 4: sigmoid 1.3e-03, x 0.31   relu 4.5e-02, x 0.90
# > layer 5: sigmoid 4.3e-03, x 0.28   relu 5.0e-02, x 1.07
# > layer 6: sigmoid 1.5e-02, x 0.29   relu 4.7e-02, x 0.98

# %% [markdown]
# Each factor leads from the next layer to this one. From layer 6 back to layer 1 the gradient of
# the sigmoid net shrinks from **1.5e-02** to **4.1e-05**, that of the other by less than a third.
# Gradient descent moves weights in proportion to their gradients, so the first layers of the
# sigmoid net hardly move. After 300 steps its loss is, to one decimal, that of a net which gives
# each of the 3 classes the probability $\frac13$ everywhere, $-\log \frac13 = \log 3$:

# %%
for name in nets:
    net = tg.nn.MLP(sizes, name, init="he", rng=0)  # "he": variance 2 / n, as above
    trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), lr=0.1), rng=0)
    history = trainer.fit(X, y, epochs=300, progress=False)
    print(f"{name} loss {history.loss[-1]:.1f} (log 3 = {np.log(3):.1f})")
# > sigmoid loss 1.1 (log 3 = 1.1)
# > relu loss 0.0 (log 3 = 1.1)

if "--out" in sys.argv:
    folder = Path(sys.argv[sys.argv.index("--out") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    ax = tg.plot.curves(size, title="Vanishing gradients", ylabel="size", logarithmic=True)
    ax.set(xlabel="layers before this one")
    tg.plot.save(ax, folder / "vanishing_gradients.png")

# %% [markdown]
# ## Try
#
# The slope of $\tanh$ is $1 - \tanh^2$: derive it, and where it is 1. If all slopes were 1, what
# variance of the weights would keep $\|\Delta\|$ as it is? Draw `W` with that, and in `nets` put
# `"tanh": np.tanh` in place of the sigmoid (the key, too: the nets that are trained go by it). Its
# factors should come to about 1, those of the ReLUs to $\sqrt{1/2}$, and the trained nets learn,
# with variance $2/n$ as above or `init="glorot"`, which is $1/n$ between layers of equal size.
