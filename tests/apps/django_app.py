"""A Django project in one file, whose view samples."""

import json
import logging

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from sampling import sampling_client, service

import tinkex
from tinkex.web import error_response

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="example", DATABASES={})
logger = logging.getLogger("django.request")


@csrf_exempt
@require_POST
def complete(request):
    """Answer with the tokens that follow those that were sent."""
    try:
        prompt = tinkex.ModelInput.from_ints(json.loads(request.body)["tokens"])
    except (KeyError, TypeError, ValueError) as error:
        return JsonResponse({"error": str(error)}, status=400)
    try:
        params = tinkex.SamplingParams(max_tokens=16)
        response = sampling_client().sample(prompt, params, timeout=30).result()
    except tinkex.TinkexError as error:
        logger.warning("sampling failed: %s", error)
        status, headers = error_response(error)
        return JsonResponse({"error": "sampling failed"}, status=status, headers=headers)
    return JsonResponse({"tokens": response.sequences[0].tokens})


def healthz(request):
    """Answer a health check; never blocks and sends nothing."""
    health = service.health()
    return JsonResponse({"ok": health.ok, "reason": health.reason}, status=200 if health.ok else 503)


urlpatterns = [path("complete", complete), path("healthz", healthz)]
application = get_wsgi_application()
