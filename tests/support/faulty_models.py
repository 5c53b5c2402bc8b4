"""Toy models that do one thing otherwise than they are asked to, and a client that samples from a model in process."""

from __future__ import annotations

import attrs

from tinkex.testing import ToyModel
from tinkex.types import ModelInput, SampleRequest, SamplingParams


class Ready:
    """A future that has its result."""

    def __init__(self, value):
        self.value = value

    def result(self):
        return self.value


class DirectClient:
    """Sampling client of a model in this process, without a server."""

    def __init__(self, model):
        self.model = model

    def sample(self, prompt, sampling_params, *, num_samples=1, include_prompt_logprobs=False, timeout=None):
        return Ready(self.model(SampleRequest(prompt, sampling_params, num_samples, include_prompt_logprobs)))

    def compute_logprobs(self, prompt, *, timeout=None):
        request = SampleRequest(ModelInput.from_ints(prompt), SamplingParams(max_tokens=1), 1, True)
        return Ready(list(self.model(request).prompt_logprobs))


class Changed(ToyModel):
    """A model that changes the parameters before it goes by them."""

    def __call__(self, request):
        params = self.changed(request.sampling_params, request)
        return super().__call__(attrs.evolve(request, sampling_params=params))

    def changed(self, params, request):
        raise NotImplementedError


class ColdIsDrawn(Changed):
    """Temperature 0 becomes 1, as on Twinkle."""

    def changed(self, params, request):
        return attrs.evolve(params, temperature=params.temperature or 1.0)


class SecondBest(ToyModel):
    """Temperature 0 takes the second likeliest token."""

    def draw(self, logprobs, params, random, request):
        if params.temperature == 0:
            return int(logprobs.argsort()[-2])
        return super().draw(logprobs, params, random, request)


class OneIsGreedy(Changed):
    """One sample at temperature 1 is greedy, two are not, as on hatchery."""

    def changed(self, params, request):
        greedy = params.temperature == 1 and request.num_samples == 1
        return attrs.evolve(params, temperature=0.0) if greedy else params


class LikeHatchery(OneIsGreedy):
    """One sample is greedy; of two, the log-probabilities are those of the fifty likeliest tokens, as on hatchery."""

    def draw(self, logprobs, params, random, request):
        if params.temperature == 0:
            return int(logprobs.argmax())
        return super().draw(logprobs, attrs.evolve(params, top_k=50), random, request)

    def told(self, logprobs, token, params):
        if params.temperature == 0:
            return float(logprobs[token])
        return float(self.np.log(self.chances(logprobs, attrs.evolve(params, top_k=50))[token]))


class TwoAreGreedy(Changed):
    """Two samples at temperature 1 are greedy, one is not."""

    def changed(self, params, request):
        greedy = params.temperature == 1 and request.num_samples == 2
        return attrs.evolve(params, temperature=0.0) if greedy else params


class Sharper(Changed):
    """Temperature 1 becomes 0.4."""

    def changed(self, params, request):
        return attrs.evolve(params, temperature=0.4 if params.temperature == 1 else params.temperature)


class Flatter(Changed):
    """Temperature 1 becomes 3."""

    def changed(self, params, request):
        return attrs.evolve(params, temperature=3.0 if params.temperature == 1 else params.temperature)


class BoundedTemperature(Changed):
    """A temperature above 1 is 1."""

    def changed(self, params, request):
        return attrs.evolve(params, temperature=min(params.temperature, 1.0))


class FiftyTokens(Changed):
    """top_k -1 is 50, as on hatchery."""

    def changed(self, params, request):
        return attrs.evolve(params, top_k=50 if params.top_k == -1 else params.top_k)


class NoTopK(Changed):
    """top_k is ignored."""

    def changed(self, params, request):
        return attrs.evolve(params, top_k=-1)


class NoTopP(Changed):
    """top_p is ignored."""

    def changed(self, params, request):
        return attrs.evolve(params, top_p=1.0)


class NoSeed(Changed):
    """Seeds are ignored."""

    def changed(self, params, request):
        return attrs.evolve(params, seed=None)


class OneSeed(Changed):
    """Every seed is the same one."""

    def changed(self, params, request):
        return params if params.seed is None else attrs.evolve(params, seed=5)


class SeedStays(ToyModel):
    """What has no seed is drawn onwards from the last seed, as on hatchery."""

    left = None

    def random(self, params, number):
        if params.seed is not None:
            self.left = super().random(params, number)
        return self.left or super().random(params, number)


class SameSequences(ToyModel):
    """All sequences of a request that has a seed are the same."""

    def random(self, params, number):
        return super().random(params, 0)


class SameSequence(ToyModel):
    """One sequence of a request is given several times."""

    def __call__(self, request):
        answer = super().__call__(attrs.evolve(request, num_samples=1))
        return attrs.evolve(answer, sequences=answer.sequences * request.num_samples)


class NoStops(Changed):
    """Stops of one kind are ignored."""

    kind = int

    def changed(self, params, request):
        return attrs.evolve(params, stop=()) if params.stop and isinstance(params.stop[0], self.kind) else params


class NoTextStops(NoStops):
    """Stop texts are ignored."""

    kind = str


class StopsInOneToken(ToyModel):
    """A stop text is looked for in each token by itself."""

    def ends(self, tokens, params):
        return super().ends(tokens[-1:], params)


class StopsAreLengths(ToyModel):
    """The reason of a stop is said to be the length."""

    def sequence(self, prompt, request, number):
        found = super().sequence(prompt, request, number)
        return attrs.evolve(found, stop_reason="length") if request.sampling_params.stop else found


class NoEnd(ToyModel):
    """The end token ends nothing, as on SkyRL's JAX backend."""

    def ends(self, tokens, params):
        return params.stop is not None and super().ends(tokens, params)


class OneMore(Changed):
    """One token more than max_tokens is given."""

    def changed(self, params, request):
        return attrs.evolve(params, max_tokens=params.max_tokens + 1)


class CutEarly(Changed):
    """Answers are cut after four tokens."""

    def changed(self, params, request):
        return attrs.evolve(params, max_tokens=min(params.max_tokens, 4))


class ShortScores(ToyModel):
    """A prompt has a score less than it has tokens."""

    def __call__(self, request):
        answer = super().__call__(request)
        scores = answer.prompt_logprobs
        return answer if scores is None else attrs.evolve(answer, prompt_logprobs=list(scores)[:-1])


class FirstIsScored(ToyModel):
    """The first token of a prompt has a score."""

    def __call__(self, request):
        answer = super().__call__(request)
        scores = answer.prompt_logprobs
        return answer if scores is None else attrs.evolve(answer, prompt_logprobs=[-1.0, *list(scores)[1:]])


class TemperedScores(ToyModel):
    """Scores of a prompt are those that the temperature makes."""

    def scored(self, prompt, place, params):
        chances = self.chances(self.logprobs(prompt[:place]), params)
        return float(self.np.log(chances[prompt[place]]))


class Tempered(ToyModel):
    """Log-probabilities of samples are those of the distribution that they are drawn from."""

    def told(self, logprobs, token, params):
        if params.temperature == 0:
            return 0.0
        return float(self.np.log(self.chances(logprobs, params)[token]))


class OtherScores(ToyModel):
    """Log-probabilities of samples are those of other weights."""

    def told(self, logprobs, token, params):
        return float(logprobs[(token + 1) % self.vocabulary])


# The fault, and the checks that find it.
FAULTS = {
    ColdIsDrawn: ("temperature 0",),
    SecondBest: ("temperature 0",),
    OneIsGreedy: ("temperature 1",),
    LikeHatchery: ("temperature 1", "top_k -1"),
    TwoAreGreedy: ("temperature 1, two samples", "two samples differ"),
    Sharper: ("temperature 1", "temperature 1, two samples"),
    Flatter: ("temperature 1", "temperature 1, two samples"),
    BoundedTemperature: ("temperature 100",),
    FiftyTokens: ("top_k -1",),
    NoTopK: ("top_k 1",),
    NoTopP: ("top_p",),
    NoSeed: ("seed",),
    OneSeed: ("seed",),
    SeedStays: ("samples without a seed",),
    SameSequences: ("two samples of one seed",),
    SameSequence: ("two samples differ", "two samples of one seed"),
    NoStops: ("stop by token id",),
    NoTextStops: ("stop by text", "stop across tokens"),
    StopsInOneToken: ("stop across tokens",),
    StopsAreLengths: ("stop by token id", "stop by text", "stop across tokens"),
    NoEnd: ("end token",),
    OneMore: ("max_tokens",),
    CutEarly: ("max_tokens",),
    ShortScores: ("prompt log-probabilities",),
    FirstIsScored: ("prompt log-probabilities",),
    TemperedScores: ("prompt log-probabilities",),
    Tempered: ("log-probabilities at temperature 0.5", "log-probabilities at temperature 0"),
    OtherScores: ("sampled and scored alike",),
}
