# fish completion for zoo. Written by `zoo completion fish`; change the program, not this file.

# The command on the line, as far as it is typed: "", "rank", "evaluate", "evaluate flips".
function __zoo_command
    set -l words (commandline -opc)
    set -l command
    set -l waiting 0
    for word in $words[2..-1]
        if test $waiting = 1
            set waiting 0
            continue
        end
        switch $word
            case -C --workspace
                set waiting 1
            case '-*'
            case '*'
                set command $command $word
                if not contains -- "$command" 'evaluate'
                    break
                end
        end
    end
    echo "$command"
end

function __zoo_at
    set -l command (__zoo_command)
    test "$argv" = "$command"
end

function __zoo_workspace
    set -l words (commandline -opc)
    set -l folder $ZOO_WORKSPACE
    set -l waiting 0
    for word in $words[2..-1]
        if test $waiting = 1
            set folder $word
            set waiting 0
            continue
        end
        switch $word
            case -C --workspace
                set waiting 1
            case '--workspace=*'
                set folder (string replace -- --workspace= '' $word)
            case '-C?*'
                set folder (string sub -s 3 -- $word)
        end
    end
    test -n "$folder"; or set folder .
    string replace -r -- '^~/' $HOME/ "$folder"
end

# The values of a kind, one a line; a description may follow after a tab.
function __zoo_value
    set -l kind "$argv"
    set -l value (string replace -r -- '^--[^=]*=' '' (commandline -ct))
    set -l item $value
    set -l offered
    if string match -q -- '*:*' $value
        set -l name (string split -m1 -- : $value)[1]
        set item (string split -m1 -- : $value)[2]
        set offered (__zoo_words "$kind $name")
        if not string match -q -- '@*' $offered[1]
            set item (string replace -r -- '.*[:,]' '' $value)
            if string match -q -- '*=*' $item
                set -l parts (string split -m1 -- = $item)
                set offered (__zoo_words "$kind $name $parts[1]")
                set item $parts[2]
            end
        end
    else if string match -q -- '*=*' $value
        set -l parts (string split -m1 -- = $value)
        set offered (__zoo_words "$kind = $parts[1]")
        set item $parts[2]
    end
    if test (count $offered) = 0
        set item $value
        set offered (__zoo_words $kind)
    end
    set -l head (string sub -l (math (string length -- "$value") - (string length -- "$item")) -- "$value")
    for word in $offered
        switch $word
            case '@source*'
                __zoo_sources
            case '@run*'
                __zoo_runs $item
            case '@file*' '@folder*'
                # Without a prefix fish completes paths itself.
                test -n "$head"; and __zoo_paths $head $item $word
            case '*'
                echo "$head$word"
        end
    end
end

function __zoo_paths -a head item kind
    set -l start (string unescape -- "$item")
    set -l base ''
    string match -q -- '~/*' "$start"; and set base $HOME/
    for path in (string replace -- '~/' "$base" "$start" | string collect)*
        set -l shown $path
        test -n "$base"; and set shown (string replace -- "$base" '~/' $path)
        if test -d $path
            echo $head$shown/
        else if not string match -q -- '@folder*' $kind
            echo $head$shown
        end
    end
end

function __zoo_sources
    set -l workspace (__zoo_workspace)
    for path in $workspace/features/source=*/
        string match -rg -- 'source=([^@].*)/$' $path
    end
    if test -r $workspace/zoo.toml
        set -l inside 0
        while read -l line
            if string match -qr -- '^\s*\[\[source\]\]' $line
                set inside 1
            else if string match -qr -- '^\s*\[' $line
                set inside 0
            else if test $inside = 1
                string replace -rf -- '^\s*name\s*=\s*(["\'])(.*?)\1.*' '$2' $line
            end
        end <$workspace/zoo.toml
    end
end

function __zoo_runs -a item
    set -l workspace (__zoo_workspace)
    set -l prefix
    string match -q -- 'runs/*' "$item"; and set prefix runs/
    for path in $workspace/runs/*/
        echo "$prefix"(string replace -r -- '.*/([^/]*)/$' '$1' $path)
    end
end

function __zoo_words
    switch "$argv"
        case 'representation'
            printf '%s\n' 'features' 'probs'
        case 'device'
            printf '%s\n' 'auto' 'cpu' 'cuda' 'cuda:'
        case 'device cuda'
            printf '%s\n' '0' '1' '2' '3' '4' '5' '6' '7'
        case 'precision'
            printf '%s\n' 'fp32' 'bf16'
        case 'format'
            printf '%s\n' 'table' 'json' 'csv' 'tsv' 'md'
        case 'schedule'
            printf '%s\n' 'constant' 'cosine' 'steps'
        case 'augmentation'
            printf '%s\n' 'none' 'flip' 'shift' 'crop' 'affine' 'rand'
        case 'images'
            printf '%s\n' 'all' 'unlabelled'
        case 'teaching'
            printf '%s\n' 'sequential' 'parallel' 'soup'
        case 'targets'
            printf '%s\n' 'live' 'stored' 'stored-clean'
        case 'frozen'
            printf '%s\n' 'body'
        case 'output'
            printf '%s\n' 'softmax' 'sigmoid'
        case 'share'
            printf '%s\n' '1%' '5%' '10%' '20%' '1/class' '5/class' 'all'
        case 'probe'
            printf '%s\n' 'all'
        case 'batch'
            printf '%s\n' 'auto'
        case 'shell'
            printf '%s\n' 'bash' 'zsh' 'fish'
        case 'file' 'weighting file' 'model python' 'model file' 'model features' 'data parquet' 'data csv' 'source python' 'source file' 'source features'
            printf '%s\n' '@file'
        case 'folder' 'data folder'
            printf '%s\n' '@folder'
        case 'run'
            printf '%s\n' '@run' '@file'
        case 'metric'
            printf '%s\t%s\n' 'parc' 'rank correlation of feature distances with label distances (Bolya 2021)' \
                'rsa' 'as parc, with the label columns standardised too (Dwivedi and Roig 2019)' \
                'cka' 'linear centred kernel alignment of features and labels (Kornblith 2019)' \
                'lfc' 'label-feature correlation of the Gram matrix (Deshpande 2021)' \
                'lgc' 'as lfc, on the gradients of the source\'s outputs; needs zoo extract --gradients (Deshpande 2021)' \
                'leep' 'log-likelihood of the labels through the source\'s classes (Nguyen 2020)' \
                'random' 'a random number: the control' \
                'logme' 'log evidence of a linear model on the features (You 2021)' \
                'hscore' 'variance of the whitened features between classes; shrunk=true for N < D (Bao 2019)' \
                'nce' 'negative conditional entropy of the labels given the source\'s class (Tran 2019)' \
                'knn' 'leave-one-out accuracy of k nearest neighbours' \
                'ridge' 'leave-one-out R² of ridge regression in closed form' \
                'transrate' 'coding rate minus that of the classes (Huang 2022)' \
                'gbc' 'negative overlap of the classes as Gaussians (Pándy 2022)' \
                'sfda' 'confidence of a self-challenging discriminant analysis (Shao 2022)' \
                'rsa-ref' 'similarity to a network trained on the target, --reference (Dwivedi and Roig 2019)' \
                'domain-similarity' 'similarity of the class means of source and target, by earth mover\'s distance (Cui 2018)' \
                'sparsity' 'share of features that are zero: assumed, our reading of Ueno and Kondo 2020' \
                'nleep' 'leep through a Gaussian mixture on the features; extra metrics (Li 2021)' \
                'ms-leep' 'mean leep of a set of sources (Agostinelli 2022)' \
                'e-leep' 'leep of the mean prediction of a set of sources (Agostinelli 2022)'
        case 'metric parc'
            printf '%s\n' 'normalized=' 'pca=' 'cosine='
        case 'metric parc normalized' 'metric parc cosine' 'metric cka debiased' 'metric lfc offdiag' 'metric hscore shrunk' 'metric gbc log' 'objective mcl reset' 'objective dp labels'
            printf '%s\n' 'true' 'false'
        case 'metric cka'
            printf '%s\n' 'debiased='
        case 'metric lfc'
            printf '%s\n' 'offdiag='
        case 'metric lgc'
            printf '%s\n' 'outputs='
        case 'metric lgc outputs'
            printf '%s\n' 'trace' 'sum'
        case 'metric random'
            printf '%s\n' 'seed='
        case 'metric hscore'
            printf '%s\n' 'shrunk='
        case 'metric knn'
            printf '%s\n' 'k=' 'distance='
        case 'metric knn distance'
            printf '%s\n' 'euclidean' 'cosine'
        case 'metric transrate'
            printf '%s\n' 'form='
        case 'metric transrate form'
            printf '%s\n' 'code' 'paper'
        case 'metric gbc'
            printf '%s\n' 'form=' 'pca=' 'log='
        case 'metric gbc form'
            printf '%s\n' 'spherical' 'diagonal'
        case 'metric domain-similarity'
            printf '%s\n' 'gamma=' 'min_images='
        case 'metric sparsity'
            printf '%s\n' 'hoyer=' 'tol='
        case 'metric nleep'
            printf '%s\n' 'seed=' 'seeds='
        case 'weighting'
            printf '%s\t%s\n' 'p=' 'similarity to the power p; short: p=2 (paper 000, eq. 5)' \
                'equal' 'the same weight for every source (p=0)' \
                'nearest' 'the best source alone (p=inf)' \
                'softmax:' 'softmax of the raw scores at temperature T' \
                'topk' 'the k best sources, then power p among them' \
                'random' 'random weights from the flat Dirichlet distribution' \
                'inverse' 'the worst sources most: the control experiment' \
                'file:' 'weights read from a JSON file'
        case 'weighting power'
            printf '%s\n' 'p='
        case 'weighting power p' 'weighting topk p' 'weighting inverse p' 'weighting = p'
            printf '%s\n' '1' '2' '3' '6' '9' '12' '15' 'inf'
        case 'weighting softmax'
            printf '%s\n' 'T='
        case 'weighting topk'
            printf '%s\n' 'k=' 'p='
        case 'weighting random'
            printf '%s\n' 'seed=' 'k='
        case 'weighting inverse'
            printf '%s\n' 'form=' 'p='
        case 'weighting inverse form'
            printf '%s\n' 'reciprocal' 'complement'
        case 'objective'
            printf '%s\t%s\n' 'cross-task' 'labels and the weighted pseudo-labels of many sources (paper 000, eq. 4)' \
                'kl' 'predictions of a teacher with the same classes (paper 002, KL-Dist)' \
                'xe-kl' 'labels and a teacher\'s predictions, which weigh alpha=0.5 (paper 002, XE-KL-Dist)' \
                'mcl' 'as xe-kl, averaged into slow weights that retain 0.61 of the original (paper 002, + MCL)' \
                'dp' 'predictions of the teacher where it is better, else of the student itself (paper 002, + DP)'
        case 'objective xe-kl'
            printf '%s\n' 'alpha='
        case 'objective mcl'
            printf '%s\n' 'alpha=' 'k=' 'retention=' 'tau=' 'steps_per_update=' 'reset='
        case 'objective dp'
            printf '%s\n' 'labels=' 'select=' 'confidence='
        case 'objective dp select'
            printf '%s\n' 'prob' 'flip'
        case 'objective dp confidence'
            printf '%s\n' 'prob' 'logit'
        case 'learning'
            printf '%s\t%s\n' 'supervised' 'labels alone (paper 000, eq. 2)' \
                'fixmatch' 'labels, and confident predictions on weak views as labels of strong views (Sohn 2020)'
        case 'model'
            printf '%s\t%s\n' 'torchvision:' 'torchvision:resnet50, weights by name or file' \
                'timm:' 'timm:NAME (extra timm), weights by tag or file' \
                'python:' 'python:FILE.py:FACTORY with args and a weights file' \
                'file:' 'file:FOLDER, a run of zoo or a timm / Hugging Face folder' \
                'features:' 'features:PATH, stored embeddings or logits without a model'
        case 'model torchvision' 'source torchvision'
            printf '%s\n' 'alexnet' 'convnext_base' 'convnext_large' 'convnext_small' 'convnext_tiny' 'densenet121' 'densenet161' 'densenet169' 'densenet201' 'efficientnet_b0' 'efficientnet_b1' 'efficientnet_b2' 'efficientnet_b3' 'efficientnet_b4' 'efficientnet_b5' 'efficientnet_b6' 'efficientnet_b7' 'efficientnet_v2_l' 'efficientnet_v2_m' 'efficientnet_v2_s' 'googlenet' 'inception_v3' 'maxvit_t' 'mnasnet0_5' 'mnasnet0_75' 'mnasnet1_0' 'mnasnet1_3' 'mobilenet_v2' 'mobilenet_v3_large' 'mobilenet_v3_small' 'regnet_x_16gf' 'regnet_x_1_6gf' 'regnet_x_32gf' 'regnet_x_3_2gf' 'regnet_x_400mf' 'regnet_x_800mf' 'regnet_x_8gf' 'regnet_y_128gf' 'regnet_y_16gf' 'regnet_y_1_6gf' 'regnet_y_32gf' 'regnet_y_3_2gf' 'regnet_y_400mf' 'regnet_y_800mf' 'regnet_y_8gf' 'resnet101' 'resnet152' 'resnet18' 'resnet34' 'resnet50' 'resnext101_32x8d' 'resnext101_64x4d' 'resnext50_32x4d' 'shufflenet_v2_x0_5' 'shufflenet_v2_x1_0' 'shufflenet_v2_x1_5' 'shufflenet_v2_x2_0' 'squeezenet1_0' 'squeezenet1_1' 'swin_b' 'swin_s' 'swin_t' 'swin_v2_b' 'swin_v2_s' 'swin_v2_t' 'vgg11' 'vgg11_bn' 'vgg13' 'vgg13_bn' 'vgg16' 'vgg16_bn' 'vgg19' 'vgg19_bn' 'vit_b_16' 'vit_b_32' 'vit_h_14' 'vit_l_16' 'vit_l_32' 'wide_resnet101_2' 'wide_resnet50_2'
        case 'data'
            printf '%s\t%s\n' 'folder:' 'folder:PATH, one folder per class, or flat for unlabelled images' \
                'parquet:' 'parquet:GLOB in the Hugging Face layout' \
                'csv:' 'csv:FILE with columns path, label, id, group' \
                'torchvision:' 'torchvision:NAME?root=PATH&train=true, a data set on disk'
        case 'source'
            printf '%s\t%s\n' '@source' '' \
                'torchvision:' 'torchvision:resnet50, weights by name or file' \
                'timm:' 'timm:NAME (extra timm), weights by tag or file' \
                'python:' 'python:FILE.py:FACTORY with args and a weights file' \
                'file:' 'file:FOLDER, a run of zoo or a timm / Hugging Face folder' \
                'features:' 'features:PATH, stored embeddings or logits without a model'
        case 'start'
            printf '%s\t%s\n' 'best' 'the source that ranks first' \
                'student' 'the student of zoo.toml' \
                '@source' '' \
                'torchvision:' 'torchvision:resnet50, weights by name or file' \
                'timm:' 'timm:NAME (extra timm), weights by tag or file' \
                'python:' 'python:FILE.py:FACTORY with args and a weights file' \
                'file:' 'file:FOLDER, a run of zoo or a timm / Hugging Face folder' \
                'features:' 'features:PATH, stored embeddings or logits without a model'
    end
end

complete -c zoo -f
complete -c zoo -n __zoo_at -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n __zoo_at -l version -d 'Print the version.'
complete -c zoo -n __zoo_at -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at' -a init -d 'Write a commented zoo.toml.'
complete -c zoo -n '__zoo_at' -a split -d 'Draw labelled, unlabelled and test images.'
complete -c zoo -n '__zoo_at' -a extract -d 'Store features and logits of every source.'
complete -c zoo -n '__zoo_at' -a score -d 'Score every source on the probe set.'
complete -c zoo -n '__zoo_at' -a rank -d 'Rank the sources, with a verdict.'
complete -c zoo -n '__zoo_at' -a pseudo-label -d 'Store the soft targets of every source.'
complete -c zoo -n '__zoo_at' -a distill -d 'Train a small student from many sources.'
complete -c zoo -n '__zoo_at' -a finetune -d 'Train a pretrained model on the labels.'
complete -c zoo -n '__zoo_at' -a evaluate -d 'Evaluate students, transfers and rankings.'
complete -c zoo -n '__zoo_at' -a sources -d 'List the models and what is stored of each.'
complete -c zoo -n '__zoo_at' -a show -d 'Show an artifact and what it was made from.'
complete -c zoo -n '__zoo_at' -a demo -d 'Run the pipeline on handwritten digits.'
complete -c zoo -n '__zoo_at' -a completion -d 'Print the completion script of a shell.'
complete -c zoo -n '__zoo_at evaluate' -a accuracy -d 'Accuracy and calibration of predictions.'
complete -c zoo -n '__zoo_at evaluate' -a flips -d 'Positive and negative flips of two models.'
complete -c zoo -n '__zoo_at evaluate' -a transfer -d 'Gains and losses of transfers from teachers.'
complete -c zoo -n '__zoo_at evaluate' -a ranking -d 'How well metrics predict transfer accuracy.'
complete -c zoo -n '__zoo_at evaluate' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at init' -l train -x -k -a '(__zoo_value data)' -d 'Training images, e.g. folder:pets/train. Repeatable.'
complete -c zoo -n '__zoo_at init' -l test -x -k -a '(__zoo_value data)' -d 'Test images. Repeatable. [default: 20% of train]'
complete -c zoo -n '__zoo_at init' -l unlabelled -x -k -a '(__zoo_value data)' -d 'More images, without labels. Repeatable.'
complete -c zoo -n '__zoo_at init' -l labelled -x -k -a '(__zoo_value share)' -d 'Labels to use: "10%", "5/class", "1000" or "all".'
complete -c zoo -n '__zoo_at init' -l name -x -k -a '(__zoo_value text)' -d 'Name of the task. [default: the folder\'s]'
complete -c zoo -n '__zoo_at init' -l student -x -k -a '(__zoo_value model)' -d 'Model to train.'
complete -c zoo -n '__zoo_at init' -l source -x -k -a '(__zoo_value source)' -d 'Source model, as PROVIDER:NAME. Repeatable.'
complete -c zoo -n '__zoo_at init' -l overwrite -d 'Replace an existing zoo.toml.'
complete -c zoo -n '__zoo_at init' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at init' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at init' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at init' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at split' -l train -x -k -a '(__zoo_value data)' -d 'Training images. Repeats.'
complete -c zoo -n '__zoo_at split' -l test -x -k -a '(__zoo_value data)' -d 'Test images. Repeats.'
complete -c zoo -n '__zoo_at split' -l unlabelled -x -k -a '(__zoo_value data)' -d 'More images, without labels. Repeats.'
complete -c zoo -n '__zoo_at split' -l labelled -x -k -a '(__zoo_value share)' -d '"10%", "5/class", "1000" or "all".'
complete -c zoo -n '__zoo_at split' -l probe -x -k -a '(__zoo_value probe)' -d 'Size of the probe set, or "all".'
complete -c zoo -n '__zoo_at split' -l probe-per-class -x -k -a '(__zoo_value text)' -d 'Probe images of a class at most; 0: no limit.'
complete -c zoo -n '__zoo_at split' -l max-errors -x -k -a '(__zoo_value text)' -d 'Samples that may fail before exit code 4: a number or a share, N%.'
complete -c zoo -n '__zoo_at split' -l seed -x -k -a '(__zoo_value text)' -d 'Random seed. [default: the task\'s]'
complete -c zoo -n '__zoo_at split' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at split' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at split' -l dry-run -d 'Show what would be done; write nothing.'
complete -c zoo -n '__zoo_at split' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at split' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at split' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at split' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at extract' -l source -x -k -a '(__zoo_value source)' -d 'A source, by name or PROVIDER:NAME. Repeats.'
complete -c zoo -n '__zoo_at extract' -l train -x -k -a '(__zoo_value data)' -d 'Training images, without a zoo.toml. Repeats.'
complete -c zoo -n '__zoo_at extract' -l gradients -d 'Store gradients of the probe set too, for lgc.'
complete -c zoo -n '__zoo_at extract' -l projection -x -k -a '(__zoo_value text)' -d 'Numbers a gradient is projected to, or none. [default: 10000]'
complete -c zoo -n '__zoo_at extract' -l batch-size -x -k -a '(__zoo_value batch)' -d 'Images a forward pass, or auto.'
complete -c zoo -n '__zoo_at extract' -l device -x -k -a '(__zoo_value device)' -d 'auto (CUDA if there is any), cpu, cuda or cuda:N.'
complete -c zoo -n '__zoo_at extract' -l precision -x -k -a '(__zoo_value precision)' -d 'fp32 or bf16.'
complete -c zoo -n '__zoo_at extract' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at extract' -l max-errors -x -k -a '(__zoo_value text)' -d 'Samples that may fail before exit code 4: a number or a share, N%.'
complete -c zoo -n '__zoo_at extract' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at extract' -l refresh -d 'Make stale inputs again, whatever they are.'
complete -c zoo -n '__zoo_at extract' -l dry-run -d 'Show what would be done; write nothing.'
complete -c zoo -n '__zoo_at extract' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at extract' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at extract' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at extract' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at extract' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at extract' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at score' -l metric -x -k -a '(__zoo_value metric)' -d 'NAME or NAME:key=value. Repeats. [default: those that take seconds]'
complete -c zoo -n '__zoo_at score' -l on -x -k -a '(__zoo_value representation)' -d 'Representation: features or probs. [default: the metric\'s own]'
complete -c zoo -n '__zoo_at score' -l source -x -k -a '(__zoo_value source)' -d 'A source by name. Repeatable. [default: all]'
complete -c zoo -n '__zoo_at score' -l features -r -F -d 'Stored outputs of a source, instead of zoo.toml. Repeatable.'
complete -c zoo -n '__zoo_at score' -l manifest -r -F -d 'Manifest of the task, instead of zoo.toml.'
complete -c zoo -n '__zoo_at score' -l reference -r -F -d 'Stored features of a network trained on the task.'
complete -c zoo -n '__zoo_at score' -l out -r -F -d 'Write the scores of one metric to this file.'
complete -c zoo -n '__zoo_at score' -l seed -x -k -a '(__zoo_value text)' -d 'Random seed. [default: the task\'s]'
complete -c zoo -n '__zoo_at score' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at score' -l refresh -d 'Make stale inputs again, whatever they are.'
complete -c zoo -n '__zoo_at score' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at score' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at score' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at score' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at score' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at score' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at rank' -l metric -x -k -a '(__zoo_value metric)' -d 'NAME or NAME:key=value; several by their mean z-score. [default: parc]'
complete -c zoo -n '__zoo_at rank' -l on -x -k -a '(__zoo_value representation)' -d 'Representation: features or probs. [default: the metric\'s own]'
complete -c zoo -n '__zoo_at rank' -l weighting -x -k -a '(__zoo_value weighting)' -d 'p=2, equal, nearest, softmax:T=0.1, …'
complete -c zoo -n '__zoo_at rank' -l plasticity -d 'Add the capacity term: z-score + depth / 50 of each source.'
complete -c zoo -n '__zoo_at rank' -l explain -x -k -a '(__zoo_value text)' -d 'Show which classes make this source good, instead.'
complete -c zoo -n '__zoo_at rank' -l source -x -k -a '(__zoo_value source)' -d 'A source by name. Repeatable. [default: all]'
complete -c zoo -n '__zoo_at rank' -l features -r -F -d 'Stored outputs of a source, instead of zoo.toml. Repeatable.'
complete -c zoo -n '__zoo_at rank' -l manifest -r -F -d 'Manifest of the task, instead of zoo.toml.'
complete -c zoo -n '__zoo_at rank' -l scores -r -F -d 'A scores file or folder, without a zoo.toml.'
complete -c zoo -n '__zoo_at rank' -l out -r -F -d 'Where the ranking goes. [default: ranking.parquet]'
complete -c zoo -n '__zoo_at rank' -l seed -x -k -a '(__zoo_value text)' -d 'Random seed. [default: the task\'s]'
complete -c zoo -n '__zoo_at rank' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at rank' -l refresh -d 'Make stale inputs again, whatever they are.'
complete -c zoo -n '__zoo_at rank' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at rank' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at rank' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at rank' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at rank' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at rank' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at pseudo-label' -l source -x -k -a '(__zoo_value source)' -d 'A source by name. Repeatable. [default: all]'
complete -c zoo -n '__zoo_at pseudo-label' -l features -r -F -d 'Stored outputs, without a zoo.toml; needs --out.'
complete -c zoo -n '__zoo_at pseudo-label' -l out -r -F -d 'Folder of the pseudo-labels of --features.'
complete -c zoo -n '__zoo_at pseudo-label' -l output -x -k -a '(__zoo_value output)' -d 'What the logits of --features are for: softmax or sigmoid.'
complete -c zoo -n '__zoo_at pseudo-label' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at pseudo-label' -l refresh -d 'Make stale inputs again, whatever they are.'
complete -c zoo -n '__zoo_at pseudo-label' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at pseudo-label' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at pseudo-label' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at pseudo-label' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at pseudo-label' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at pseudo-label' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at distill' -l objective -x -k -a '(__zoo_value objective)' -d 'cross-task, or for teachers with the same classes: kl, xe-kl, mcl or dp.'
complete -c zoo -n '__zoo_at distill' -l weighting -x -k -a '(__zoo_value weighting)' -d 'p=2, equal, nearest, … Repeatable: one run each. [default: p=12]'
complete -c zoo -n '__zoo_at distill' -l metric -x -k -a '(__zoo_value metric)' -d 'Metric whose scores are weighed: NAME or NAME:key=value. [default: parc]'
complete -c zoo -n '__zoo_at distill' -l on -x -k -a '(__zoo_value representation)' -d 'Representation: features or probs. [default: the metric\'s own]'
complete -c zoo -n '__zoo_at distill' -l source -x -k -a '(__zoo_value source)' -d 'A source by name. Repeatable. [default: all]'
complete -c zoo -n '__zoo_at distill' -l each-source -d 'Train one student from each source alone.'
complete -c zoo -n '__zoo_at distill' -l draws -x -k -a '(__zoo_value text)' -d 'Train N students with random source weights.'
complete -c zoo -n '__zoo_at distill' -l teachers -x -k -a '(__zoo_value teaching)' -d 'Combine several teachers: sequential, parallel or soup. [default: sequential]'
complete -c zoo -n '__zoo_at distill' -l targets -x -k -a '(__zoo_value targets)' -d 'Run teachers on every batch (live) or precompute their outputs (stored, stored-clean). [default: live]'
complete -c zoo -n '__zoo_at distill' -l student -x -k -a '(__zoo_value model)' -d 'PROVIDER:NAME. [default: the student of zoo.toml]'
complete -c zoo -n '__zoo_at distill' -l init -x -k -a '(__zoo_value source)' -d 'Source whose weights initialise the student\'s body.'
complete -c zoo -n '__zoo_at distill' -l name -x -k -a '(__zoo_value text)' -d 'Run name. [default: derived from the options]'
complete -c zoo -n '__zoo_at distill' -l steps -x -k -a '(__zoo_value text)' -d 'Training length in steps.'
complete -c zoo -n '__zoo_at distill' -l epochs -x -k -a '(__zoo_value text)' -d 'Training length in passes over the images, the unlabelled ones if they are used. [default: the objective\'s]'
complete -c zoo -n '__zoo_at distill' -l batch-size -x -k -a '(__zoo_value text)' -d 'Batch size; half labelled, half unlabelled when both are used. [default: the objective\'s]'
complete -c zoo -n '__zoo_at distill' -l lr -x -k -a '(__zoo_value text)' -d 'Learning rate. [default: the objective\'s]'
complete -c zoo -n '__zoo_at distill' -l momentum -x -k -a '(__zoo_value text)' -d 'SGD momentum.'
complete -c zoo -n '__zoo_at distill' -l weight-decay -x -k -a '(__zoo_value text)' -d 'SGD weight decay.'
complete -c zoo -n '__zoo_at distill' -l schedule -x -k -a '(__zoo_value schedule)' -d 'Learning rate schedule: constant, cosine or steps. [default: the objective\'s]'
complete -c zoo -n '__zoo_at distill' -l warmup -x -k -a '(__zoo_value text)' -d 'Linear warm-up steps.'
complete -c zoo -n '__zoo_at distill' -l augment -x -k -a '(__zoo_value augmentation)' -d 'Augmentation: none, flip, shift, crop, affine (for glyphs and signs) or rand. [default: the objective\'s]'
complete -c zoo -n '__zoo_at distill' -l unlabelled-from -x -k -a '(__zoo_value images)' -d 'Images of the unlabelled half: all, or unlabelled alone.'
complete -c zoo -n '__zoo_at distill' -l recalibrate -d 'Re-estimate the batch-norm statistics on the training images at the end.'
complete -c zoo -n '__zoo_at distill' -l checkpoint-every -x -k -a '(__zoo_value text)' -d 'Steps between checkpoints.'
complete -c zoo -n '__zoo_at distill' -l max-time -x -k -a '(__zoo_value text)' -d 'Time limit, e.g. 3h50m: stop with a checkpoint and exit code 75.'
complete -c zoo -n '__zoo_at distill' -l device -x -k -a '(__zoo_value device)' -d 'auto (CUDA if there is any), cpu, cuda or cuda:N.'
complete -c zoo -n '__zoo_at distill' -l precision -x -k -a '(__zoo_value precision)' -d 'fp32 or bf16.'
complete -c zoo -n '__zoo_at distill' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at distill' -l lam -x -k -a '(__zoo_value text)' -d 'Share of the labels in the loss; 1: labels only. [default: 0.8]'
complete -c zoo -n '__zoo_at distill' -l kd-temperature -x -k -a '(__zoo_value text)' -d 'Temperature of the distillation loss.'
complete -c zoo -n '__zoo_at distill' -l min-weight -x -k -a '(__zoo_value text)' -d 'Drop sources with a smaller weight. [default: 0.0001]'
complete -c zoo -n '__zoo_at distill' -l manifest -r -F -d 'Manifest of the task, instead of zoo.toml.'
complete -c zoo -n '__zoo_at distill' -l pseudo -r -F -d 'Pseudo-labels of a source, without a zoo.toml. Repeatable.'
complete -c zoo -n '__zoo_at distill' -l scores -r -F -d 'Scores of the sources of --pseudo.'
complete -c zoo -n '__zoo_at distill' -l out -r -F -d 'Folder of the run, used as given. [default: runs/NAME]'
complete -c zoo -n '__zoo_at distill' -l seed -x -k -a '(__zoo_value text)' -d 'Random seed. Repeatable: one run each. [default: the task\'s]'
complete -c zoo -n '__zoo_at distill' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at distill' -l refresh -d 'Make stale inputs again, whatever they are.'
complete -c zoo -n '__zoo_at distill' -l dry-run -d 'Show what would be done; write nothing.'
complete -c zoo -n '__zoo_at distill' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at distill' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at distill' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at distill' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at distill' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at distill' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at finetune' -l objective -x -k -a '(__zoo_value learning)' -d 'supervised, or fixmatch, which also learns from unlabelled images.'
complete -c zoo -n '__zoo_at finetune' -l freeze -x -k -a '(__zoo_value frozen)' -d 'Train only the new head with body. [default: all layers]'
complete -c zoo -n '__zoo_at finetune' -l metric -x -k -a '(__zoo_value metric)' -d 'Metric that selects best. [default: parc]'
complete -c zoo -n '__zoo_at finetune' -l name -x -k -a '(__zoo_value text)' -d 'Run name. [default: derived from the options]'
complete -c zoo -n '__zoo_at finetune' -l lr -x -k -a '(__zoo_value text)' -d 'Learning rate; of several, 0.01,0.005, the best on held-out labels. [default: the objective\'s]'
complete -c zoo -n '__zoo_at finetune' -l threshold -x -k -a '(__zoo_value text)' -d 'fixmatch: confidence from which a prediction counts as a label. [default: 0.95]'
complete -c zoo -n '__zoo_at finetune' -l temperature -x -k -a '(__zoo_value text)' -d 'fixmatch: temperature of its predictions. [default: 1]'
complete -c zoo -n '__zoo_at finetune' -l lam -x -k -a '(__zoo_value text)' -d 'fixmatch: share of the labels in the loss, instead of --unlabelled-weight.'
complete -c zoo -n '__zoo_at finetune' -l unlabelled-weight -x -k -a '(__zoo_value text)' -d 'fixmatch: weight of the unlabelled loss beside the labelled one. [default: 1]'
complete -c zoo -n '__zoo_at finetune' -l steps -x -k -a '(__zoo_value text)' -d 'Training length in steps.'
complete -c zoo -n '__zoo_at finetune' -l epochs -x -k -a '(__zoo_value text)' -d 'Training length in passes over the images, the unlabelled ones if they are used. [default: the objective\'s]'
complete -c zoo -n '__zoo_at finetune' -l batch-size -x -k -a '(__zoo_value text)' -d 'Batch size; half labelled, half unlabelled when both are used. [default: the objective\'s]'
complete -c zoo -n '__zoo_at finetune' -l momentum -x -k -a '(__zoo_value text)' -d 'SGD momentum.'
complete -c zoo -n '__zoo_at finetune' -l weight-decay -x -k -a '(__zoo_value text)' -d 'SGD weight decay.'
complete -c zoo -n '__zoo_at finetune' -l schedule -x -k -a '(__zoo_value schedule)' -d 'Learning rate schedule: constant, cosine or steps. [default: the objective\'s]'
complete -c zoo -n '__zoo_at finetune' -l warmup -x -k -a '(__zoo_value text)' -d 'Linear warm-up steps.'
complete -c zoo -n '__zoo_at finetune' -l augment -x -k -a '(__zoo_value augmentation)' -d 'Augmentation: none, flip, shift, crop, affine (for glyphs and signs) or rand. [default: the objective\'s]'
complete -c zoo -n '__zoo_at finetune' -l unlabelled-from -x -k -a '(__zoo_value images)' -d 'Images of the unlabelled half: all, or unlabelled alone.'
complete -c zoo -n '__zoo_at finetune' -l recalibrate -d 'Re-estimate the batch-norm statistics on the training images at the end.'
complete -c zoo -n '__zoo_at finetune' -l checkpoint-every -x -k -a '(__zoo_value text)' -d 'Steps between checkpoints.'
complete -c zoo -n '__zoo_at finetune' -l max-time -x -k -a '(__zoo_value text)' -d 'Time limit, e.g. 3h50m: stop with a checkpoint and exit code 75.'
complete -c zoo -n '__zoo_at finetune' -l device -x -k -a '(__zoo_value device)' -d 'auto (CUDA if there is any), cpu, cuda or cuda:N.'
complete -c zoo -n '__zoo_at finetune' -l precision -x -k -a '(__zoo_value precision)' -d 'fp32 or bf16.'
complete -c zoo -n '__zoo_at finetune' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at finetune' -l manifest -r -F -d 'Manifest of the task, instead of zoo.toml.'
complete -c zoo -n '__zoo_at finetune' -l out -r -F -d 'Folder of the run, used as given. [default: runs/NAME]'
complete -c zoo -n '__zoo_at finetune' -l seed -x -k -a '(__zoo_value text)' -d 'Random seed. Repeatable: one run each. [default: the task\'s]'
complete -c zoo -n '__zoo_at finetune' -l overwrite -d 'Replace the output, even if it is up to date.'
complete -c zoo -n '__zoo_at finetune' -l refresh -d 'Make stale inputs again, whatever they are.'
complete -c zoo -n '__zoo_at finetune' -l dry-run -d 'Show what would be done; write nothing.'
complete -c zoo -n '__zoo_at finetune' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at finetune' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at finetune' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at finetune' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at finetune' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at finetune' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at finetune' -k -a '(__zoo_value start)'
complete -c zoo -n '__zoo_at evaluate accuracy' -l out -r -F -d 'Write the answer to a .json file, or its rows to a .parquet file.'
complete -c zoo -n '__zoo_at evaluate accuracy' -l device -x -k -a '(__zoo_value device)' -d 'auto (CUDA if there is any), cpu, cuda or cuda:N.'
complete -c zoo -n '__zoo_at evaluate accuracy' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at evaluate accuracy' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at evaluate accuracy' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at evaluate accuracy' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at evaluate accuracy' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at evaluate accuracy' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at evaluate accuracy' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at evaluate accuracy' -F -k -a '(__zoo_value run)'
complete -c zoo -n '__zoo_at evaluate flips' -l teacher -x -k -a '(__zoo_value run)' -d 'A teacher\'s run, file or model, to compare with.'
complete -c zoo -n '__zoo_at evaluate flips' -l all -d 'Compare every ordered pair of models. [default: of every finished run]'
complete -c zoo -n '__zoo_at evaluate flips' -l class-embeddings -r -F -d 'Vectors of the class names (.parquet, .csv or .json). [default: from their spelling]'
complete -c zoo -n '__zoo_at evaluate flips' -l out -r -F -d 'Write the answer to a .json file, or its rows to a .parquet file.'
complete -c zoo -n '__zoo_at evaluate flips' -l device -x -k -a '(__zoo_value device)' -d 'auto (CUDA if there is any), cpu, cuda or cuda:N.'
complete -c zoo -n '__zoo_at evaluate flips' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at evaluate flips' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at evaluate flips' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at evaluate flips' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at evaluate flips' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at evaluate flips' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at evaluate flips' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at evaluate flips' -F -k -a '(__zoo_value run)'
complete -c zoo -n '__zoo_at evaluate transfer' -l teacher -x -k -a '(__zoo_value run)' -d 'Teacher: one for all, one for each AFTER, or several for one. Repeatable. [default: as recorded]'
complete -c zoo -n '__zoo_at evaluate transfer' -l out -r -F -d 'Write the answer to a .json file, or its rows to a .parquet file.'
complete -c zoo -n '__zoo_at evaluate transfer' -l device -x -k -a '(__zoo_value device)' -d 'auto (CUDA if there is any), cpu, cuda or cuda:N.'
complete -c zoo -n '__zoo_at evaluate transfer' -l workers -x -k -a '(__zoo_value text)' -d 'Threads that decode images. [default: one per core]'
complete -c zoo -n '__zoo_at evaluate transfer' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at evaluate transfer' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at evaluate transfer' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at evaluate transfer' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at evaluate transfer' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at evaluate transfer' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at evaluate transfer' -F -k -a '(__zoo_value run)'
complete -c zoo -n '__zoo_at evaluate ranking' -l out -r -F -d 'Write the answer to a .json file, or its rows to a .parquet file.'
complete -c zoo -n '__zoo_at evaluate ranking' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at evaluate ranking' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at evaluate ranking' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at evaluate ranking' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at evaluate ranking' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at evaluate ranking' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at evaluate ranking' -F -k -a '(__zoo_value file)'
complete -c zoo -n '__zoo_at sources' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at sources' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at sources' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at sources' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at sources' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at sources' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at show' -l format -x -k -a '(__zoo_value format)' -d 'table, json, csv, tsv or md. [default: table on a terminal, tsv in a pipe]'
complete -c zoo -n '__zoo_at show' -l json -d 'Short for --format json.'
complete -c zoo -n '__zoo_at show' -s C -l workspace -x -a '(__fish_complete_directories)' -d 'Folder of zoo.toml and of the output.'
complete -c zoo -n '__zoo_at show' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at show' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at show' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at show' -F -k -a '(__zoo_value run)'
complete -c zoo -n '__zoo_at demo' -l out -r -F -d 'Folder to work in, which is kept. [default: a new temporary one]'
complete -c zoo -n '__zoo_at demo' -l seed -x -k -a '(__zoo_value text)' -d 'Random seed.'
complete -c zoo -n '__zoo_at demo' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at demo' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at demo' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at completion' -s q -l quiet -d 'Print only warnings and errors on stderr.'
complete -c zoo -n '__zoo_at completion' -s v -l verbose -d 'Print details on stderr.'
complete -c zoo -n '__zoo_at completion' -s h -l help -d 'Show this message and exit.'
complete -c zoo -n '__zoo_at completion' -k -a '(__zoo_value shell)'
