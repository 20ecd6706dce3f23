import signal
import threading

from invseg_jax.training.preemption import StopRequest


def test_sigterm_sets_a_flag_and_nothing_else():
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked


def test_the_signal_is_given_back_also_after_a_failure():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("outer"))
    try:
        try:
            with StopRequest() as stop:
                signal.raise_signal(signal.SIGTERM)
                raise RuntimeError
        except RuntimeError:
            pass
        assert stop.asked
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        assert heard == ["outer"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_leaves_the_signal_alone():
    before = signal.getsignal(signal.SIGTERM)
    inside = []

    def work() -> None:
        with StopRequest() as stop:
            inside.append((signal.getsignal(signal.SIGTERM), stop.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(before, False)]
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_exit_status_is_that_of_a_terminated_process():
    assert StopRequest.EXIT_STATUS == 143
