// hnswlib, as its users have it: M 16, efConstruction 200, compiled for this very machine.
#include "bench/peer.h"

#include <atomic>
#include <hnswlib/hnswlib.h>
#include <memory>
#include <thread>

int main(int argc, char **argv)
{
    peer::Arguments a = peer::read_arguments(argc, argv);
    size_t before = peer::resident();
    std::unique_ptr<hnswlib::SpaceInterface<float>> space;

    if (a.ip)
        space = std::make_unique<hnswlib::InnerProductSpace>(a.base.cols);
    else
        space = std::make_unique<hnswlib::L2Space>(a.base.cols);
    double begin = peer::now();
    hnswlib::HierarchicalNSW<float> index(space.get(), a.base.rows, 16, 200);
    std::atomic<size_t> next{1};
    std::vector<std::thread> threads;

    index.addPoint(a.base.row(0), 0);
    for (int t = 0; t < a.threads; t++)
        threads.emplace_back([&] {
            for (size_t i; (i = next++) < a.base.rows;)
                index.addPoint(a.base.row(i), i);
        });
    for (auto &t : threads)
        t.join();
    double seconds = peer::now() - begin;

    peer::sweep("hnswlib", a, seconds, peer::resident() - before, [&](int ef) { index.setEf(size_t(ef)); },
                [&](const float *query, int64_t *ids) {
                    auto found = index.searchKnn(query, peer::K);
                    size_t n = found.size();

                    for (size_t i = 0; !found.empty(); found.pop())
                        ids[i++] = int64_t(found.top().second);
                    return n;
                });
}
