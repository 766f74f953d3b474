# bash completion for zoo. Written by `zoo completion bash`; change the program, not this file.

_zoo_table() {
    case $1 in
        'commands ') REPLY='init split extract score rank pseudo-label distill finetune evaluate sources show demo completion' ;;
        'commands evaluate') REPLY='accuracy flips transfer ranking' ;;
        'flags ') REPLY='-C --workspace --version -h --help' ;;
        'flags evaluate') REPLY='-h --help' ;;
        'flags init') REPLY='--train --test --unlabelled --labelled --name --student --source --overwrite -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags split') REPLY='--train --test --unlabelled --labelled --probe --probe-per-class --max-errors --seed --workers --overwrite --dry-run -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags extract') REPLY='--source --train --gradients --projection --batch-size --device --precision --workers --max-errors --overwrite --refresh --dry-run --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags score') REPLY='--metric --on --source --features --manifest --reference --out --seed --overwrite --refresh --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags rank') REPLY='--metric --on --weighting --plasticity --explain --source --features --manifest --scores --out --seed --overwrite --refresh --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags pseudo-label') REPLY='--source --features --out --output --overwrite --refresh --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags distill') REPLY='--objective --weighting --metric --on --source --each-source --draws --teachers --targets --student --init --name --steps --epochs --batch-size --lr --momentum --weight-decay --schedule --warmup --augment --unlabelled-from --recalibrate --checkpoint-every --max-time --device --precision --workers --lam --kd-temperature --min-weight --manifest --pseudo --scores --out --seed --overwrite --refresh --dry-run --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags finetune') REPLY='--objective --freeze --metric --name --lr --threshold --temperature --lam --unlabelled-weight --steps --epochs --batch-size --momentum --weight-decay --schedule --warmup --augment --unlabelled-from --recalibrate --checkpoint-every --max-time --device --precision --workers --manifest --out --seed --overwrite --refresh --dry-run --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags evaluate accuracy') REPLY='--out --device --workers --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags evaluate flips') REPLY='--teacher --all --class-embeddings --out --device --workers --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags evaluate transfer') REPLY='--teacher --out --device --workers --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags evaluate ranking') REPLY='--out --format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags sources') REPLY='--format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags show') REPLY='--format --json -C --workspace -q --quiet -v --verbose -h --help' ;;
        'flags demo') REPLY='--out --seed -q --quiet -v --verbose -h --help' ;;
        'flags completion') REPLY='-q --quiet -v --verbose -h --help' ;;
        'argument finetune') REPLY=start ;;
        'argument evaluate accuracy') REPLY=run ;;
        'argument evaluate flips') REPLY=run ;;
        'argument evaluate transfer') REPLY=run ;;
        'argument evaluate ranking') REPLY=file ;;
        'argument show') REPLY=run ;;
        'argument completion') REPLY=shell ;;
        'kind '*' -C' | 'kind '*' --workspace') REPLY=folder ;;
        'kind '*' --train' | 'kind '*' --test' | 'kind '*' --unlabelled') REPLY=data ;;
        'kind '*' --labelled') REPLY=share ;;
        'kind '*' --name' | 'kind '*' --probe-per-class' | 'kind '*' --max-errors' | 'kind '*' --seed' | 'kind '*' --workers' | 'kind '*' --projection' | 'kind distill --batch-size' | 'kind finetune --batch-size' | 'kind '*' --explain' | 'kind '*' --draws' | 'kind '*' --steps' | 'kind '*' --epochs' | 'kind '*' --lr' | 'kind '*' --momentum' | 'kind '*' --weight-decay' | 'kind '*' --warmup' | 'kind '*' --checkpoint-every' | 'kind '*' --max-time' | 'kind '*' --lam' | 'kind '*' --kd-temperature' | 'kind '*' --min-weight' | 'kind '*' --threshold' | 'kind '*' --temperature' | 'kind '*' --unlabelled-weight') REPLY=text ;;
        'kind '*' --student') REPLY=model ;;
        'kind '*' --source' | 'kind '*' --init') REPLY=source ;;
        'kind '*' --probe') REPLY=probe ;;
        'kind extract --batch-size') REPLY=batch ;;
        'kind '*' --device') REPLY=device ;;
        'kind '*' --precision') REPLY=precision ;;
        'kind '*' --format') REPLY=format ;;
        'kind '*' --metric') REPLY=metric ;;
        'kind '*' --on') REPLY=representation ;;
        'kind '*' --features' | 'kind '*' --manifest' | 'kind '*' --reference' | 'kind '*' --out' | 'kind '*' --scores' | 'kind '*' --pseudo' | 'kind '*' --class-embeddings') REPLY=file ;;
        'kind '*' --weighting') REPLY=weighting ;;
        'kind '*' --output') REPLY=output ;;
        'kind distill --objective') REPLY=objective ;;
        'kind finetune --objective') REPLY=learning ;;
        'kind '*' --teachers') REPLY=teaching ;;
        'kind '*' --targets') REPLY=targets ;;
        'kind '*' --schedule') REPLY=schedule ;;
        'kind '*' --augment') REPLY=augmentation ;;
        'kind '*' --unlabelled-from') REPLY=images ;;
        'kind '*' --freeze') REPLY=frozen ;;
        'kind '*' --teacher') REPLY=run ;;
        'words representation') REPLY='features probs' ;;
        'words device') REPLY='auto cpu cuda cuda:' ;;
        'words device cuda') REPLY='0 1 2 3 4 5 6 7' ;;
        'words precision') REPLY='fp32 bf16' ;;
        'words format') REPLY='table json csv tsv md' ;;
        'words schedule') REPLY='constant cosine steps' ;;
        'words augmentation') REPLY='none flip shift crop affine rand' ;;
        'words images') REPLY='all unlabelled' ;;
        'words teaching') REPLY='sequential parallel soup' ;;
        'words targets') REPLY='live stored stored-clean' ;;
        'words frozen') REPLY=body ;;
        'words output') REPLY='softmax sigmoid' ;;
        'words share') REPLY='1% 5% 10% 20% 1/class 5/class all' ;;
        'words probe') REPLY=all ;;
        'words batch') REPLY=auto ;;
        'words shell') REPLY='bash zsh fish' ;;
        'words file' | 'words weighting file' | 'words model python' | 'words model file' | 'words model features' | 'words data parquet' | 'words data csv' | 'words source python' | 'words source file' | 'words source features') REPLY=@file ;;
        'words folder' | 'words data folder') REPLY=@folder ;;
        'words run') REPLY='@run @file' ;;
        'words metric') REPLY='parc rsa cka lfc lgc leep random logme hscore nce knn ridge transrate gbc sfda rsa-ref domain-similarity sparsity nleep ms-leep e-leep' ;;
        'words metric parc') REPLY='normalized= pca= cosine=' ;;
        'words metric parc normalized' | 'words metric parc cosine' | 'words metric cka debiased' | 'words metric lfc offdiag' | 'words metric hscore shrunk' | 'words metric gbc log' | 'words objective mcl reset' | 'words objective dp labels') REPLY='true false' ;;
        'words metric cka') REPLY=debiased= ;;
        'words metric lfc') REPLY=offdiag= ;;
        'words metric lgc') REPLY=outputs= ;;
        'words metric lgc outputs') REPLY='trace sum' ;;
        'words metric random') REPLY=seed= ;;
        'words metric hscore') REPLY=shrunk= ;;
        'words metric knn') REPLY='k= distance=' ;;
        'words metric knn distance') REPLY='euclidean cosine' ;;
        'words metric transrate') REPLY=form= ;;
        'words metric transrate form') REPLY='code paper' ;;
        'words metric gbc') REPLY='form= pca= log=' ;;
        'words metric gbc form') REPLY='spherical diagonal' ;;
        'words metric domain-similarity') REPLY='gamma= min_images=' ;;
        'words metric sparsity') REPLY='hoyer= tol=' ;;
        'words metric nleep') REPLY='seed= seeds=' ;;
        'words weighting') REPLY='p= equal nearest softmax: topk random inverse file:' ;;
        'words weighting power') REPLY=p= ;;
        'words weighting power p' | 'words weighting topk p' | 'words weighting inverse p' | 'words weighting = p') REPLY='1 2 3 6 9 12 15 inf' ;;
        'words weighting softmax') REPLY=T= ;;
        'words weighting topk') REPLY='k= p=' ;;
        'words weighting random') REPLY='seed= k=' ;;
        'words weighting inverse') REPLY='form= p=' ;;
        'words weighting inverse form') REPLY='reciprocal complement' ;;
        'words objective') REPLY='cross-task kl xe-kl mcl dp' ;;
        'words objective xe-kl') REPLY=alpha= ;;
        'words objective mcl') REPLY='alpha= k= retention= tau= steps_per_update= reset=' ;;
        'words objective dp') REPLY='labels= select= confidence=' ;;
        'words objective dp select') REPLY='prob flip' ;;
        'words objective dp confidence') REPLY='prob logit' ;;
        'words learning') REPLY='supervised fixmatch' ;;
        'words model') REPLY='torchvision: timm: python: file: features:' ;;
        'words model torchvision' | 'words source torchvision') REPLY='alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2' ;;
        'words data') REPLY='folder: parquet: csv: torchvision:' ;;
        'words source') REPLY='@source torchvision: timm: python: file: features:' ;;
        'words start') REPLY='best student @source torchvision: timm: python: file: features:' ;;
        *) REPLY= ;;
    esac
}

_zoo() {
    local - IFS=$' \t\n' REPLY= failglob=
    set +o noglob +o nounset +o errexit
    if shopt -q failglob; then
        failglob=1
        shopt -u failglob
    fi
    COMPREPLY=()
    _zoo_complete "$2"
    [[ -z $failglob ]] || shopt -s failglob
}

_zoo_complete() {
    # readline also splits at = and :. Join what the user sees as one word.
    local -a words=() offered=()
    local rest=${COMP_LINE:0:COMP_POINT} gap piece i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        gap=${rest%%[![:space:]]*}
        rest=${rest:${#gap}}
        piece=${COMP_WORDS[i]:0:${#rest}}
        rest=${rest:${#piece}}
        if [[ -n $gap || $i == 0 ]]; then
            words+=("$piece")
        else
            words[${#words[@]} - 1]+=$piece
        fi
    done

    local command= workspace=${ZOO_WORKSPACE:-.} waiting= ended= typed=${words[${#words[@]} - 1]} word
    for word in "${words[@]:1:${#words[@]} - 2}"; do
        _zoo_bare "$word"
        word=$REPLY
        if [[ -n $waiting ]]; then
            [[ $waiting != -C && $waiting != --workspace ]] || workspace=$word
            waiting=
        elif [[ -z $ended && $word == -?* ]]; then
            case $word in
                --) ended=1 ;;
                --workspace=*) workspace=${word#*=} ;;
                --*=*) ;;
                -C?*) workspace=${word#-C} ;;
                *)
                    _zoo_table "kind $command $word"
                    [[ -z $REPLY ]] || waiting=$word
                    ;;
            esac
        else
            _zoo_table "commands $command"
            [[ -z $REPLY ]] || command+=${command:+ }$word
        fi
    done
    [[ $workspace != '~/'* ]] || workspace=$HOME/${workspace#'~/'}

    _zoo_bare "$typed"
    local full=$REPLY head= value=$REPLY files= kind=
    if [[ -n $waiting ]]; then
        _zoo_table "kind $command $waiting"
        kind=$REPLY
    elif [[ -z $ended && $full == --*=* ]]; then
        head=${full%%=*}=
        value=${full#*=}
        _zoo_table "kind $command ${head%=}"
        kind=$REPLY
    elif [[ -z $ended && $full == -* ]]; then
        _zoo_table "flags $command"
        _zoo_offer $REPLY
    else
        _zoo_table "commands $command"
        if [[ -n $REPLY ]]; then
            _zoo_offer $REPLY
        else
            _zoo_table "argument $command"
            kind=$REPLY
        fi
    fi
    [[ -z $kind ]] || _zoo_value "$kind"
    ((${#offered[@]})) || return 0

    # readline keeps what stands before the part that it takes for the word, which must not be repeated.
    _zoo_bare "$1"
    local keep=${full%"$REPLY"} open=1
    if [[ -n $files ]]; then compopt -o filenames; else compopt -o nosort; fi
    for word in "${offered[@]}"; do
        [[ $word == *[=:,/] ]] || open=
        word=${word#"$keep"}
        # Where readline sees a folder itself, it ends the word correctly, within quotes too.
        [[ -z $files || $word != */ || ! -d $word ]] || word=${word%/}
        [[ -n $files || $typed == [\'\"]* || $word != *[!a-zA-Z0-9_.,:=/%@+-]* ]] || printf -v word %q "$word"
        COMPREPLY+=("$word")
    done
    [[ -z $open ]] || compopt -o nospace
}

# Add those of the words $@ that begin with $value; $head stands before the value in the user's word.
_zoo_offer() {
    local word
    for word; do
        [[ $word != "$value"* ]] || offered+=("$head$word")
    done
}

# Add the values of the kind $1.
_zoo_value() {
    local item=$value name word
    REPLY=
    if [[ $value == *:* ]]; then
        name=${value%%:*}
        item=${value#*:}
        _zoo_table "words $1 $name"
        if [[ $REPLY != @* ]]; then
            item=${value##*[:,]}
            if [[ $item == *=* ]]; then
                _zoo_table "words $1 $name ${item%%=*}"
                item=${item#*=}
            fi
        fi
    elif [[ $value == *=* ]]; then
        item=${value#*=}
        _zoo_table "words $1 = ${value%%=*}"
    fi
    if [[ -z $REPLY ]]; then
        item=$value
        _zoo_table "words $1"
    fi
    head+=${value%"$item"}
    value=$item
    for word in $REPLY; do
        case $word in
            @file) [[ $REPLY == @run* && $value == runs/* && ${#offered[@]} != 0 ]] || _zoo_paths ;;
            @folder) _zoo_paths folders ;;
            @source) _zoo_sources ;;
            @run) _zoo_runs ;;
            *) _zoo_offer "$word" ;;
        esac
    done
}

# Add files, or only folders if $1 is set.
_zoo_paths() {
    local folders=$1 path start=$value base=
    files=1
    if [[ $value == *'$'* ]]; then
        # bash itself completes after a variable.
        if [[ -n $folders ]]; then compopt -o dirnames; else compopt -o default; fi
        return
    fi
    if [[ $value == '~/'* ]]; then
        base=$HOME/
        start=${value#'~/'}
    fi
    for path in "$base$start"*; do
        if [[ -d $path ]]; then
            path+=/
        elif [[ -n $folders || ! -e $path ]]; then
            continue
        fi
        path=${path#"$base"}
        [[ -z $base ]] || path='~/'$path
        offered+=("$head$path")
    done
}

_zoo_sources() {
    local path line inside= name stored=/
    for path in "$workspace"/features/source=*/; do
        path=${path%/}
        name=${path##*/source=}
        [[ -d $path && $name != @* ]] || continue
        stored+=$name/
        _zoo_offer "$name"
    done
    [[ -r $workspace/zoo.toml ]] || return 0
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line#"${line%%[![:space:]]*}"}
        case $line in
            '[[source]]'*) inside=1 ;;
            '['*) inside= ;;
            name*=*[\"\']*[\"\']*)
                [[ -n $inside ]] || continue
                line=${line#*=}
                line=${line#"${line%%[\"\']*}"}
                name=${line:1}
                name=${name%%"${line:0:1}"*}
                [[ $stored == */"$name"/* ]] || _zoo_offer "$name"
                ;;
        esac
    done <"$workspace/zoo.toml"
}

_zoo_runs() {
    local path prefix=
    [[ $value != runs/* ]] || prefix=runs/
    for path in "$workspace"/runs/*/; do
        path=${path%/}
        [[ ! -d $path ]] || _zoo_offer "$prefix${path##*/}"
    done
}

# REPLY: the word $1 without its quotes and backslashes.
_zoo_bare() {
    REPLY=$1
    [[ $1 == *[\\\'\"]* ]] || return 0
    local i char quote=
    REPLY=
    for ((i = 0; i < ${#1}; i++)); do
        char=${1:i:1}
        if [[ $char == "$quote" ]]; then
            quote=
        elif [[ -z $quote && $char == [\'\"] ]]; then
            quote=$char
        elif [[ $char == \\ && $quote != \' ]]; then
            ((++i))
            REPLY+=${1:i:1}
        else
            REPLY+=$char
        fi
    done
}

complete -F _zoo zoo
